"""LPIPS: the perceptual distance of reconstructions, where the package `lpips` is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disbench import sources
from disbench.errors import DisbenchError, NotApplicable, UsageError, first_line
from disbench.imports import import_despite_torchvision
from disbench.metrics.images._pairs import mean_over_pairs
from disbench.settings import check_numbers
from disbench.types import Images, PairMetric, Score, ValueSpec

WEIGHTS = sources.SourceFile(
    "alexnet-owt-7be5be79.pth", urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",)
)
_LAYERS = {0: "slice1.0", 3: "slice2.3", 6: "slice3.6", 8: "slice4.8", 10: "slice5.10"}  # AlexNet's -> the package's


_MIN_SIDE = 31  # pixels; of smaller ones nothing is left after AlexNet's second pooling


@dataclass(frozen=True)
class Settings:
    """How many images are reconstructed."""

    num_images: int = 1_000  # distinct images

    def __post_init__(self) -> None:
        check_numbers(self, "lpips.")


def lpips(images: Images, reconstructions: Images) -> Score:
    """Weighted squared difference of AlexNet's normalised features: mean over places, sum over layers.

    The network and its weights on features are those of the package `lpips`, version 0.1 of the weights.

    Args:
        images: float (n, c, h, w) in [0, 1], c = 1 or 3, numpy or torch. Grey ones get three equal channels.
        reconstructions: likewise.

    Returns:
        `lpips`, from 0, lower is better. Details: `std_over_images`.

    Undefined when:
        never. Images with a side below 31 pixels, or of other than 1 or 3 channels, are refused.

    Source:
        Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1.

    Matches:
        the package, which computes it; tested with random weights in AlexNet (tests/images/test_pairs.py), as the
        published ones could not be had.

    Differs from:
        distances on VGG's features, which are another number under this name.

    Raises:
        UsageError: the package or AlexNet's weights are not here; the message says what to do.
    """
    if lack := missing():
        raise UsageError(lack)
    return mean_over_pairs(METRIC, images, reconstructions, Settings())


def missing() -> str:
    """What is not here of what it needs, in a sentence or two; empty if nothing."""
    if importlib.util.find_spec("lpips") is None:
        return "LPIPS comes from the package lpips: pip install lpips."
    if _weights() is None:
        return (
            f"AlexNet's weights, which LPIPS needs, are not here. Put {WEIGHTS.name}, from {WEIGHTS.urls[0]}, into "
            f"{sources.downloads_dir()}, or into the folder named by DISBENCH_DATA."
        )
    return ""


def _weights() -> Path | None:
    """Where AlexNet's weights are: with our files, or where torch keeps what it has downloaded."""
    folders = [*sources.data_folders(None), Path(torch.hub.get_dir()) / "checkpoints"]
    return sources.find([WEIGHTS], folders).get(WEIGHTS.name)


def distances(images: Images, reconstructions: Images, settings: Settings) -> Tensor:  # noqa: ARG001
    """Of each image: (n, c, h, w) -> float64 (n,).

    Raises:
        NotApplicable: the network cannot look at such images.
    """
    n_channels, *sides = images.shape[1:]
    if n_channels not in (1, 3) or min(sides) < _MIN_SIDE:
        raise NotApplicable(
            f"AlexNet takes grey or RGB images of at least {_MIN_SIDE} x {_MIN_SIDE} pixels, and these have "
            f"{n_channels} channels and {sides[0]} x {sides[1]}"
        )
    network = _network(str(images.device))
    pair = (2 * batch.float().expand(-1, 3, -1, -1) - 1 for batch in (images, reconstructions))
    with torch.no_grad():
        found: Tensor = network(*pair)
    return found.flatten().double()


@cache
def _network(device: str) -> nn.Module:
    path = _weights()
    assert path is not None  # missing() was asked first
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(WEIGHTS.name[-12:-4]):  # by torch's custom the name ends with the hash's beginning
        raise DisbenchError(f"{path} is damaged: its sha256 begins with {digest[:8]}; fetch it again.")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return build(weights).to(device)
    except Exception as error:  # unpickling fails in any number of ways
        raise DisbenchError(f"{path} cannot be read as AlexNet's weights: {first_line(error)}") from error


def build(weights: dict[str, Any]) -> nn.Module:
    """The package's network on AlexNet's weights, in eval mode."""
    package = import_despite_torchvision("lpips")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # it is initialised at random first
        warnings.simplefilter("ignore", UserWarning)  # of torchvision, about how the package calls it
        network: nn.Module = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = {
        f"{there}.{part}": weights[f"features.{here}.{part}"]
        for here, there in _LAYERS.items()
        for part in ("weight", "bias")
    }
    trunk: Any = network.net
    trunk.load_state_dict(layers)
    return network.eval().requires_grad_(False)


METRIC = PairMetric(
    name="lpips",
    version=1,
    values=(
        ValueSpec(
            "lpips", "perceptual distance of reconstructions (AlexNet)", high=math.inf, direction="lower",
            invariant_to=frozenset(),
        ),
    ),
    settings=Settings,
    observe=distances,
    missing=missing,
    citation=(
        "@inproceedings{zhang2018lpips, title={The Unreasonable Effectiveness of Deep Features as a Perceptual "
        "Metric}, author={Zhang, Richard and Isola, Phillip and Efros, Alexei A. and Shechtman, Eli and Wang, Oliver}, "
        "booktitle={CVPR}, year={2018}}"
    ),
)  # fmt: skip
