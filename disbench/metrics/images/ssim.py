"""SSIM: the structural similarity of reconstructions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from disbench.errors import NotApplicable
from disbench.metrics.images._pairs import mean_over_pairs, per_image
from disbench.settings import check_numbers
from disbench.types import Images, PairMetric, Score, ValueSpec

WINDOW, SPREAD = 11, 1.5  # pixels: side and standard deviation of the Gaussian window
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # what keeps the quotients from 0 / 0, for images in [0, 1]


@dataclass(frozen=True)
class Settings:
    """How many images are reconstructed."""

    num_images: int = 1_000  # distinct images

    def __post_init__(self) -> None:
        check_numbers(self, "ssim.")


def ssim(images: Images, reconstructions: Images) -> Score:
    """Similarity of luminance, contrast and structure in Gaussian windows, mean over windows, channels and images.

    In every 11 x 11 window that lies inside the image, with weighted means m, variances v and covariance c of an image
    x and a reconstruction y: (2 m_x m_y + .01^2) (2 c + .03^2) / ((m_x^2 + m_y^2 + .01^2) (v_x + v_y + .03^2)).

    Args:
        images: float (n, c, h, w) in [0, 1], numpy or torch.
        reconstructions: likewise.

    Returns:
        `ssim` in -1 ... 1, higher is better. Details: `std_over_images`.

    Undefined when:
        never. Images with a side below 11 pixels are refused.

    Source:
        Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", equation 13, with
        its window and constants.

    Matches:
        scikit-image's structural_similarity with Gaussian weights of spread 1.5, population covariances and channels
        apart, to 1e-9 (tests/images/test_pairs.py).

    Differs from:
        EncDiff's released evaluation, which hands rows over as channels; implementations that pad the image, or use
        flat windows.
    """
    return mean_over_pairs(METRIC, images, reconstructions, Settings())


def similarity(images: Images, reconstructions: Images) -> Tensor:
    """Of each image: (n, c, h, w) -> (n,).

    Raises:
        NotApplicable: the images are smaller than the window.
    """
    if min(images.shape[2:]) < WINDOW:
        raise NotApplicable(f"its windows are {WINDOW} pixels wide, and the images have {tuple(images.shape[2:])}")
    mean, other_mean = _smoothed(images), _smoothed(reconstructions)
    variance = _smoothed(images**2) - mean**2
    other_variance = _smoothed(reconstructions**2) - other_mean**2
    covariance = _smoothed(images * reconstructions) - mean * other_mean
    luminance = (2 * mean * other_mean + LUMINANCE) / (mean**2 + other_mean**2 + LUMINANCE)
    structure = (2 * covariance + CONTRAST) / (variance + other_variance + CONTRAST)
    return (luminance * structure).flatten(1).mean(1)


def _smoothed(images: Images) -> Images:
    """Means under the Gaussian window, wherever it lies inside: (n, c, h, w) -> (n, c, h - 10, w - 10)."""
    height, width = (_windows(side, images) for side in images.shape[2:])
    return height @ images @ width.T


def _windows(side: int, like: Tensor) -> Tensor:
    """The window at each of its places along a side: (side - 10, side). A product with it beats a convolution."""
    place = torch.arange(side - WINDOW + 1, device=like.device)[:, None]
    distance = torch.arange(side, device=like.device) - place - WINDOW // 2
    weights = (-0.5 * (distance.to(like.dtype) / SPREAD) ** 2).exp()
    weights = torch.where(distance.abs() <= WINDOW // 2, weights, 0)
    return weights / weights.sum(1, keepdim=True)


METRIC = PairMetric(
    name="ssim",
    version=1,
    values=(
        ValueSpec("ssim", "structural similarity of images and reconstructions", low=-1, invariant_to=frozenset()),
    ),
    settings=Settings,
    observe=per_image(similarity),
    citation=(
        "@article{wang2004ssim, title={Image Quality Assessment: From Error Visibility to Structural Similarity}, "
        "author={Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.}, journal={IEEE "
        "Transactions on Image Processing}, year={2004}}"
    ),
)
