"""FID: the Frechet distance between features of real and of generated images."""

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
    """Size of FID and its features. The value falls with the number of images, so compare equal numbers only."""

    num_images: int = 10_000  # images of each set
    features: str = "inception"  # the extractor

    def __post_init__(self) -> None:
        check_numbers(self, "fid.")


@dataclass(frozen=True)
class Disdiff(Settings):
    """As the released script of DisDiff, and that of EncDiff, feeds images to the network: on the wrong scale."""

    features: str = "inception@disdiff"


def fid(real: Any, fake: Any) -> Score:
    """Frechet distance between normal distributions fitted to the features of two sets of images.

    With m the mean and S the covariance (ddof 1) of each set:
    FID = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), in float64.

    Args:
        real: features float (n, d) of real images, numpy or torch.
        fake: features float (m, d) of generated ones.

    Returns:
        `fid` in 0 ... inf, lower is better. It falls as n and m grow, even where the distributions stay. Details:
        `n_real`, `n_made`, `mean_term` and `covariance_term`, which add up to it.

    Undefined when:
        a set has one image.

    Source:
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", eq. 6.

    Matches:
        pytorch-fid 0.3.0 and torch-fidelity 0.4.0 on the cases of tests/golden/images/features.json: to 1e-12 where
        there are more images than features, to 2e-7 where there are fewer.

    Differs from:
        those two where a set has fewer images than features: they also take the roots of what rounding leaves behind
        the rank; here it is left out.
    """
    return score(features_of(real), features_of(fake), Settings(), 0)


def score(real: Features, made: Features, settings: Settings, seed: int) -> Score:  # noqa: ARG001
    """FID of the features of real and generated images; see `fid`."""
    return score_of("fid", real, made)


METRIC = FeatureMetric(
    name="fid",
    version=1,
    values=(
        ValueSpec(
            "fid",
            "Frechet distance between features of real and generated images",
            high=math.inf,
            direction="lower",
            invariant_to=frozenset({"permuting samples"}),
        ),
    ),
    settings=Settings,
    needs="generation",
    score=score,
    citation=(
        "@inproceedings{heusel2017gans, title={{GANs} Trained by a Two Time-Scale Update Rule Converge to a Local Nash "
        "Equilibrium}, author={Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and "
        "Hochreiter, Sepp}, booktitle={NeurIPS}, year={2017}}"
    ),
)

VARIANTS = (METRIC.variant("disdiff", Disdiff),)
