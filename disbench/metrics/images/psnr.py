"""PSNR: the peak signal-to-noise ratio of reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from disbench.metrics.images._pairs import mean_over_pairs, per_image
from disbench.metrics.images.mse import squared_error
from disbench.settings import check_numbers
from disbench.types import Images, PairMetric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """How many images are reconstructed."""

    num_images: int = 1_000  # distinct images

    def __post_init__(self) -> None:
        check_numbers(self, "psnr.")


def psnr(images: Images, reconstructions: Images) -> Score:
    """-10 log10 of each image's mean squared error, images in [0, 1], mean over images.

    Args:
        images: float (n, c, h, w) in [0, 1], numpy or torch.
        reconstructions: likewise.

    Returns:
        `psnr` in decibels, 0 ... inf, higher is better. Details: `std_over_images`.

    Undefined when:
        a reconstruction equals its image: its ratio is infinite.

    Source:
        Horé and Ziou 2010, "Image Quality Metrics: PSNR vs. SSIM", equation 1.

    Matches:
        scikit-image's peak_signal_noise_ratio, averaged over images, to 1e-9 (tests/images/test_pairs.py).

    Differs from:
        the logarithm of the mean error over all images, which some print, and which is never larger.
    """
    return mean_over_pairs(METRIC, images, reconstructions, Settings())


def decibels(images: Images, reconstructions: Images) -> Tensor:
    """Of each image: (n, c, h, w) -> (n,); infinite where there is no error."""
    return -10 * squared_error(images, reconstructions).log10()


METRIC = PairMetric(
    name="psnr",
    version=1,
    values=(
        ValueSpec(
            "psnr", "signal-to-noise ratio of reconstructions, decibels", high=math.inf, invariant_to=frozenset()
        ),
    ),
    settings=Settings,
    observe=per_image(decibels),
    citation=(
        "@inproceedings{hore2010psnr, title={Image Quality Metrics: PSNR vs. SSIM}, author={Hor{\\'e}, Alain and Ziou, "
        "Djemel}, booktitle={ICPR}, year={2010}}"
    ),
)
