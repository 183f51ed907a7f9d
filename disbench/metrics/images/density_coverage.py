"""Density and coverage: how often generated images fall into balls around real ones, and how many balls they hit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from disbench.features import Features, features_of
from disbench.metrics.images._manifolds import memberships, rows_of, squared_radii
from disbench.settings import check_numbers
from disbench.types import FeatureMetric, Score, ValueSpec

NAMES = ("density_coverage.density", "density_coverage.coverage")


@dataclass(frozen=True)
class Settings:
    """Sizes of density and coverage, and their features."""

    num_images: int = 10_000  # images of each set
    features: str = "inception"  # the extractor
    neighbours: int = 5  # a real ball reaches to this nearest other real image

    def __post_init__(self) -> None:
        check_numbers(self, "density_coverage.")


def density_coverage(real: Any, fake: Any, *, neighbours: int = 5) -> Score:
    """Number of real balls around a generated image over k, on average; and the share of real balls with one inside.

    Around every real image is a ball that reaches to its k-th nearest other real image; an image is inside if it is
    strictly nearer. Balls around generated images play no part, so that an outlier among them adds nothing.

    Args:
        real: features float (n, d) of real images, numpy or torch; taken as float32, compared in float64.
        fake: features float (m, d) of generated ones.
        neighbours: k.

    Returns:
        `density_coverage.density` in 0 ... inf, about 1 for equal distributions, and `density_coverage.coverage` in
        0 ... 1; higher is better. Details: `n_real`, `n_made`.

    Undefined when:
        a set has no more than `neighbours` images.

    Source:
        Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", eqs. 3 and 4.

    Matches:
        prdc 0.2 to 1e-12 on the cases of tests/golden/images/features.json, with 3 and 5 neighbours.

    Differs from:
        prdc where rounding decides there: equal images, and images on the rim of a ball, which are outside here.
    """
    settings = Settings(neighbours=neighbours)
    return score(features_of(real, keep_rows=True), features_of(fake, keep_rows=True), settings, 0)


def score(real: Features, made: Features, settings: Settings, seed: int) -> Score:  # noqa: ARG001
    """Density and coverage of the features of real and generated images; see `density_coverage`."""
    real_rows, made_rows, reason = rows_of(real, made, settings.neighbours)
    counts = {"n_real": len(real_rows), "n_made": len(made_rows)}
    if reason:
        return Score({}, counts, dict.fromkeys(NAMES, reason))
    found = memberships(real_rows, made_rows, squared_radii(real_rows, settings.neighbours))
    density = found.around_made.double().mean().item() / settings.neighbours
    coverage = (found.in_real > 0).double().mean().item()
    return Score(dict(zip(NAMES, (density, coverage), strict=True)), counts)


METRIC = FeatureMetric(
    name="density_coverage",
    version=1,
    values=(
        ValueSpec(
            NAMES[0],
            "real balls around a generated image, over the number of neighbours",
            high=math.inf,
            invariant_to=frozenset({"permuting samples"}),
        ),
        ValueSpec(
            NAMES[1], "share of real balls that a generated image hits", invariant_to=frozenset({"permuting samples"})
        ),
    ),
    settings=Settings,
    needs="generation",
    score=score,
    keeps_rows=True,
    citation=(
        "@inproceedings{naeem2020reliable, title={Reliable Fidelity and Diversity Metrics for Generative Models}, "
        "author={Naeem, Muhammad Ferjad and Oh, Seong Joon and Uh, Youngjung and Choi, Yunjey and Yoo, Jaejun}, "
        "booktitle={ICML}, year={2020}}"
    ),
)
