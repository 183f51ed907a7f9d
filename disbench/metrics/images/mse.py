"""MSE: the mean squared error of reconstructions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from disbench.metrics.images._pairs import mean_over_pairs, per_image
from disbench.settings import check_numbers
from disbench.types import Images, PairMetric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """How many images are reconstructed."""

    num_images: int = 1_000  # distinct images

    def __post_init__(self) -> None:
        check_numbers(self, "mse.")


def mse(images: Images, reconstructions: Images) -> Score:
    """Squared difference of images in [0, 1], mean over pixels and channels, then over images.

    Args:
        images: float (n, c, h, w) in [0, 1], numpy or torch.
        reconstructions: likewise.

    Returns:
        `mse` in 0 ... 1, lower is better. Details: `std_over_images`.

    Undefined when:
        never.

    Source:
        the mean squared error.

    Matches:
        the definition, in numpy, to 1e-12 (tests/images/test_pairs.py).

    Differs from:
        sums over pixels, and images in 0 ... 255 or -1 ... 1, on which some papers print it.
    """
    return mean_over_pairs(METRIC, images, reconstructions, Settings())


def squared_error(images: Images, reconstructions: Images) -> Tensor:
    """Of each image, mean over pixels and channels: (n, c, h, w) -> (n,)."""
    return (images - reconstructions).square().flatten(1).mean(1)


METRIC = PairMetric(
    name="mse",
    version=1,
    values=(
        ValueSpec(
            "mse", "squared error of reconstructions, mean over pixels", direction="lower", invariant_to=frozenset()
        ),
    ),
    settings=Settings,
    observe=per_image(squared_error),
    citation=(
        "@article{wang2009mse, title={Mean Squared Error: Love It or Leave It?}, author={Wang, Zhou and Bovik, Alan "
        "C.}, journal={IEEE Signal Processing Magazine}, year={2009}}"
    ),
)
