"""The Inception network of FID, torch-fidelity's, and the file of its weights."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from disbench import sources
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.imports import import_despite_torchvision
from disbench.sources import SourceFile
from disbench.types import Pixels

SIDE = 299  # pixels, height and width of what the network sees
WIDTH = 2048  # features, those of the last pooling

_HOST = "https://github.com"
_FACTS: Any = {"size": 95_628_359, "sha256": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"}
_STAMP = "inception-2015-12-05-6726825d.pth"
WEIGHTS = (  # one file under two names
    SourceFile(
        f"weights-{_STAMP}", (f"{_HOST}/toshas/torch-fidelity/releases/download/v0.2.0/weights-{_STAMP}",), **_FACTS
    ),
    SourceFile(f"pt_{_STAMP}", (f"{_HOST}/mseitzer/pytorch-fid/releases/download/fid_weights/pt_{_STAMP}",), **_FACTS),
)
PUBLISHED = str(_FACTS["sha256"])

_INSTALL = (
    "Inception's features come from the package torch-fidelity: pip install 'disbench[fid]'. Without a GPU, pin the "
    "torch that is installed, or pip may replace it by one with CUDA: pip install 'disbench[fid]' 'torch=={version}'."
)

_BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


def missing(data_dir: Path | None = None) -> str | None:
    """What is not here of what Inception needs, package and weights, in a sentence or two; None if all of it is.

    No network is built and no file is read.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        return _INSTALL.format(version=torch.__version__.partition("+")[0])
    if sources.find(WEIGHTS, sources.data_folders(data_dir)):
        return None
    first, second = WEIGHTS
    return (
        f"the weights of Inception are not here. Put {first.describe()}, from {first.urls[0]}, or the same file under "
        f"the name {second.name}, from {second.urls[0]}, into {sources.downloads_dir()}, or into the folder named by "
        "DISBENCH_DATA."
    )


def find_weights(data_dir: Path | None = None) -> Path:
    """The published file of weights, verified once a process.

    Raises:
        UsageError: it, or the package, is not here.
        DisbenchError: the file is another one, or damaged.
    """
    if sentence := missing(data_dir):
        raise UsageError(sentence)
    ((name, path),) = list(sources.find(WEIGHTS, sources.data_folders(data_dir)).items())[:1]
    status = path.stat()
    _verify(path, name, status.st_size, status.st_mtime_ns)
    return path


@cache
def _verify(path: Path, name: str, size: int, time: int) -> None:  # noqa: ARG001 (another file has others)
    sources.verify(path, next(file for file in WEIGHTS if file.name == name), (), progress=False)


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote; nothing in it is executed.

    Raises:
        UsageError: there is no such file.
        DisbenchError: it holds something else.
    """
    if not path.is_file():
        raise UsageError(f"there is no file of weights at {path}.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in any number of ways
        raise DisbenchError(
            f"{path} cannot be read as weights, or holds more than tensors; expected a dict of tensors by name, as "
            "torch.save writes it."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        inside = " They may be what it has under 'state_dict'." if "state_dict" in found else ""
        raise DisbenchError(f"{path} is no dict of tensors by name; save the network's state_dict().{inside}")
    return found


def build(weights: Mapping[str, Tensor], origin: str) -> nn.Module:
    """torch-fidelity's network with these weights, in eval mode, on the CPU.

    Its convolutions keep the channel last in memory: with torch-fidelity 0.4.0 and torch 2.13, 8 images took 0.9
    seconds on one CPU core, and 1.25 otherwise.

    Args:
        weights: by name.
        origin: where they are from, for messages.

    Raises:
        UsageError: torch-fidelity is not installed.
        DisbenchError: the weights are another network's.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise UsageError(_INSTALL.format(version=torch.__version__.partition("+")[0]))
    home = import_despite_torchvision("torch_fidelity.feature_extractor_inceptionv3")
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)  # torch-fidelity unpickles what it is given; this holds tensors only
    buffer.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):  # it is initialised at random first
            network: nn.Module = home.FeatureExtractorInceptionV3("inception", [str(WIDTH)], buffer)
    except RuntimeError as error:
        raise DisbenchError(
            f"the weights in {origin} do not fit the Inception network of FID (2015-12-05): {first_line(error)}"
        ) from error
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def features(network: nn.Module, pixels: Pixels) -> Tensor:
    """Features float32 (n, 2048) of pixels (n, h, w, 3), resized and scaled as TensorFlow's graph does."""
    with _full_precision():
        found: Tensor = network(pixels.movedim(-1, 1))[0]
    return found


def features_disdiff(network: nn.Module, pixels: Pixels) -> Tensor:
    """Features of images as DisDiff's and EncDiff's scripts feed them: in [-1, 509] where [-1, 1] is meant."""
    images = functional.interpolate(
        pixels.movedim(-1, 1).float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False
    )
    images = 2 * images - 1
    with _full_precision():
        for name in _BLOCKS:
            images = getattr(network, name)(images)
    return images.flatten(1)


def _full_precision() -> Any:
    """No TF32 in convolutions, which a GPU would use by default: three digits."""
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
