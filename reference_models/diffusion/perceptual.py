"""The perceptual distance that first stages are trained with: LPIPS on VGG16's features, where its weights are at hand.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1, with version
0.1 of the package `lpips`'s weights on features. The network is our own: the package would build all of VGG16, of 138
million weights, and its gradient is not a number where all features of a place are 0.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from disbench import sources
from disbench.errors import DisbenchError, first_line
from reference_models import distributed
from reference_models.objectives import full_precision

WEIGHTS = sources.SourceFile("vgg16-397923af.pth", urls=("https://download.pytorch.org/models/vgg16-397923af.pth",))
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # of VGG16: channels, convolutions; pooling in between
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of the package, for images in [-1, 1]


class PerceptualDistance(nn.Module):
    """Distances (n,) of images (n, c, h, w) in [-1, 1], c = 1 or 3, from reconstructions of them.

    Args:
        trunk: VGG16's weights, `features.0.weight` and so on; others are left alone.
        heads: the package's weights on features, `lin0.model.1.weight` (1, 64, 1, 1) and so on.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        n_inputs, place = 3, 0  # place: in VGG16's list of layers
        for k, (n_channels, n_convolutions) in enumerate(_STAGES):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if k else []
            place += bool(k)
            for _ in range(n_convolutions):
                convolution = nn.utils.skip_init(nn.Conv2d, n_inputs, n_channels, 3, padding=1)
                kinds = ("weight", "bias")
                convolution.load_state_dict({kind: trunk[f"features.{place}.{kind}"] for kind in kinds})
                layers += [convolution, nn.ReLU()]
                n_inputs, place = n_channels, place + 2
            self.stages.append(nn.Sequential(*layers))
            self.register_buffer(f"head{k}", heads[f"lin{k}.model.1.weight"].clone())
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """Of each image; the gradient goes to the reconstructions alone."""
        total = torch.zeros(len(images), device=images.device)
        with torch.no_grad():
            wanted = self._features(images)
        for k, (here, there) in enumerate(zip(wanted, self._features(reconstructions), strict=True)):
            differences = (here - there).square() * getattr(self, f"head{k}")
            total = total + differences.sum(1).mean((1, 2))
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        """Of every stage (n, channels, h, w), of length 1 at each place."""
        hidden = (images.expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(F.normalize(full_precision(hidden), dim=1, eps=1e-10))
        return found


def is_available() -> bool:
    """Whether there is a distance to train with; where not, what is missing is said on stderr, once a process."""
    return _loaded() is not None


def distances(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Perceptual distances (n,) of images (n, c, h, w) in [-1, 1] from reconstructions, where `is_available`."""
    network = _loaded()
    assert network is not None  # is_available() was asked first
    found: Tensor = network.to(images.device)(images, reconstructions)
    return found


@cache
def _loaded() -> PerceptualDistance | None:
    try:
        return load()
    except DisbenchError as error:
        if distributed.rank() == 0:
            tqdm.write(f"disbench: training goes on without the perceptual loss: {error}", file=sys.stderr)
        return None


def load() -> PerceptualDistance:
    """The distance with its published weights.

    Raises:
        DisbenchError: the package or VGG16's weights are not here, or cannot be read; the message says what to do.
    """
    package = importlib.util.find_spec("lpips")
    if package is None or not package.submodule_search_locations:
        raise DisbenchError("its weights on features come from the package lpips: pip install lpips.")
    folders = [*sources.data_folders(None), Path(torch.hub.get_dir()) / "checkpoints"]
    path = sources.find([WEIGHTS], folders).get(WEIGHTS.name)
    if path is None:
        raise DisbenchError(
            f"VGG16's weights are not here. Put {WEIGHTS.name}, from {WEIGHTS.urls[0]}, into "
            f"{sources.downloads_dir()}, or into the folder named by DISBENCH_DATA."
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(WEIGHTS.name[-12:-4]):  # by torch's custom the name ends with the hash's beginning
        raise DisbenchError(f"{path} is damaged: its sha256 begins with {digest[:8]}; fetch it again.")
    heads = Path(package.submodule_search_locations[0]) / "weights" / "v0.1" / "vgg.pth"
    return PerceptualDistance(_read(path), _read(heads))


def _read(path: Path) -> dict[str, Any]:
    try:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in any number of ways
        raise DisbenchError(f"{path} cannot be read as weights: {first_line(error)}") from error
    return weights
