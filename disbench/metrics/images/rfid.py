"""rFID: the Frechet distance between features of images and of their reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from disbench.features import Features, features_of
from disbench.metrics.images._frechet import score_of
from disbench.settings import check_numbers
from disbench.types import FeatureMetric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Size of rFID and its features; the value falls with the number of images."""

    num_images: int = 10_000  # images, and as many reconstructions
    features: str = "inception"  # the extractor

    def __post_init__(self) -> None:
        check_numbers(self, "rfid.")


def rfid(real: Any, reconstructed: Any) -> Score:
    """Frechet distance between normal distributions fitted to the features of images and of their reconstructions.

    The formula of `fid`. The two sets show the same scenes, so rFID is lower than the FID of generated images would be
    at the same quality; the two must not be compared.

    Args:
        real: features float (n, d) of images, numpy or torch.
        reconstructed: features float (n, d) of the same images' reconstructions, in any order.

    Returns:
        `rfid` in 0 ... inf, lower is better. Details: `n_real`, `n_made`, `mean_term` and `covariance_term`.

    Undefined when:
        there is one image.

    Source:
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", eq. 6,
        applied to reconstructions.

    Matches:
        `fid` on the same features exactly, and through it what `fid` matches.

    Differs from:
        nothing known.
    """
    return score(features_of(real), features_of(reconstructed), Settings(), 0)


def score(real: Features, made: Features, settings: Settings, seed: int) -> Score:  # noqa: ARG001
    """RFID of the features of images and of their reconstructions; see `rfid`."""
    return score_of("rfid", real, made)


METRIC = FeatureMetric(
    name="rfid",
    version=1,
    values=(
        ValueSpec(
            "rfid",
            "Frechet distance between features of images and of their reconstructions",
            high=math.inf,
            direction="lower",
            invariant_to=frozenset({"permuting samples"}),
        ),
    ),
    settings=Settings,
    needs="reconstructions",
    score=score,
    citation=(
        "@inproceedings{heusel2017gans, title={{GANs} Trained by a Two Time-Scale Update Rule Converge to a Local Nash "
        "Equilibrium}, author={Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and "
        "Hochreiter, Sepp}, booktitle={NeurIPS}, year={2017}}"
    ),
)
