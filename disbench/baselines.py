"""Representations that every data set can be scored with: fitted, or drawn, on the spot.

What a model has learnt is what it scores above these. `pca10` is linear and has seen the data; `random_conv10` has the
shape of a convolutional encoder and has learnt nothing. `random_codes10` and `true_factors` look at no image: they are
the floor and the ceiling of a board.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from disbench.errors import UsageError
from disbench.images import serve, to_images
from disbench.types import Codes, Dataset, Images, Indices

N_CODES = 10
N_FITTED = 5_000  # images that axes are fitted on
N_SCALED = 1_000  # images that codes are scaled on
SEED = 0
_AT_ONCE = 256  # images


@dataclass(frozen=True)
class Baseline:
    """One line about it, what makes it for a data set, and a version that is raised when it would make another."""

    summary: str
    make: Callable[[Dataset], nn.Module]
    version: int = 1


class Projection(nn.Module):
    """Codes are the coordinates of an image along some axes.

    Args:
        mean: float32 (p,), subtracted first; p is the number of an image's elements, channel first.
        axes: float32 (p, d), orthonormal.
        shape: of an image, channel first.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, mean: Tensor, axes: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)

    def forward(self, images: Images) -> Codes:
        """Codes (n, d)."""
        return (images.flatten(1) - self.mean) @ self.axes

    def decode(self, codes: Codes) -> Images:
        """The point that codes name among all images, clipped to [0, 1]."""
        return (self.mean + codes @ self.axes.T).clamp(0, 1).unflatten(1, self.shape)


def _fit_pca(dataset: Dataset) -> Projection:
    """The first principal components of 5,000 images, drawn uniformly (of all, if there are fewer)."""
    from sklearn.decomposition import PCA

    n_images = len(dataset)
    if n_images > N_FITTED:
        index = torch.randint(n_images, (N_FITTED,), generator=Generator().manual_seed(SEED)).unique()
    else:
        index = torch.arange(n_images)
    images = np.empty((len(index), math.prod(dataset.spec.image_shape)), np.float32)
    for start, batch in zip(range(0, len(index), _AT_ONCE), index.split(_AT_ONCE), strict=True):
        served = to_images(serve(dataset, batch, torch.device("cpu")))
        images[start : start + len(batch)] = served.flatten(1).numpy()
    n_axes = min(N_CODES, *images.shape)
    found = PCA(n_axes, svd_solver="randomized", random_state=SEED, copy=False).fit(images)
    mean, axes = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (found.mean_, found.components_.T))
    *sides, n_channels = dataset.spec.image_shape
    return Projection(mean, axes, (n_channels, *sides))


def _draw_convolutions(dataset: Dataset) -> nn.Sequential:
    """Four strided convolutions with random weights, averaged to four cells a side, and a random linear map.

    Codes are brought to mean 0 and standard deviation 1 on 1,000 images: scores that pass over codes which hardly vary
    would else pass over all.
    """
    *sides, n_channels = dataset.spec.image_shape
    convolution, pool = (nn.Conv2d, nn.AdaptiveAvgPool2d) if len(sides) == 2 else (nn.Conv1d, nn.AdaptiveAvgPool1d)
    widths = (n_channels, 32, 32, 64, 64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [convolution(before, after, 4, stride=2, padding=2), nn.ReLU()]
        last = nn.Linear(widths[-1] * 4 ** len(sides), N_CODES)
        drawn = nn.Sequential(*layers, pool(4), nn.Flatten(), last)
    index = torch.randint(len(dataset), (N_SCALED,), generator=Generator().manual_seed(SEED))
    cpu = torch.device("cpu")
    with torch.no_grad():
        codes = torch.cat([drawn(to_images(serve(dataset, batch, cpu))) for batch in index.split(_AT_ONCE)])
        spread = codes.std(0).clamp_min(1e-12)
        last.weight /= spread[:, None]
        last.bias.sub_(codes.mean(0)).div_(spread)
    return drawn


class TrueFactors(nn.Module):
    """The ceiling: a code for each factor, its value from 0 to 1."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self.dataset = dataset
        self.scale = torch.tensor([max(1, factor.size - 1) for factor in dataset.spec.space.factors])

    def by_index(self, index: Indices) -> Codes:
        """Codes (n, k)."""
        return self.dataset.factors(index.cpu()) / self.scale

    def forward(self, images: Images) -> Codes:  # noqa: ARG002
        """Factors cannot be seen in an image."""
        raise UsageError("the true factors are codes of a data set's own images, by their positions.")


class RandomCodes(nn.Module):
    """The floor: standard normal numbers that an image's position decides, whatever it shows."""

    def by_index(self, index: Indices) -> Codes:
        """Codes (n, 10), by a hash of position and code, SplitMix64 (Steele et al. 2014), and Box-Muller."""
        counter = index.cpu().numpy().astype(np.uint64)[:, None] * np.uint64(N_CODES) + np.arange(N_CODES).astype(
            np.uint64
        )
        first, second = (_uniform(2 * counter + np.uint64(k)) for k in (0, 1))
        normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
        return torch.from_numpy(normal.astype(np.float32))

    def forward(self, images: Images) -> Codes:  # noqa: ARG002
        """There is nothing to be seen in an image."""
        raise UsageError("random codes are codes of a data set's own images, by their positions.")


def _uniform(counter: np.ndarray) -> np.ndarray:
    """float64 in (0, 1], one for each uint64."""
    mixed = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53


BASELINES: Mapping[str, Baseline] = {
    "pca10": Baseline("baseline: the first 10 principal components of 5,000 images", _fit_pca),
    "random_conv10": Baseline("baseline: a convolutional network with random weights, 10 codes", _draw_convolutions),
    "random_codes10": Baseline("floor: 10 random numbers an image", lambda _: RandomCodes()),
    "true_factors": Baseline("ceiling: the factors themselves", TrueFactors),
}
