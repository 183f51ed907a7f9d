"""Improved precision and recall: how much of each set lies within balls around the images of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from disbench.features import Features, features_of
from disbench.metrics.images._manifolds import memberships, rows_of, squared_radii
from disbench.settings import check_numbers
from disbench.types import FeatureMetric, Score, ValueSpec

NAMES = ("precision_recall.precision", "precision_recall.recall")


@dataclass(frozen=True)
class Settings:
    """Sizes of precision and recall, and their features."""

    num_images: int = 10_000  # images of each set
    features: str = "inception"  # the extractor
    neighbours: int = 3  # a ball reaches to this nearest other image of its own set

    def __post_init__(self) -> None:
        check_numbers(self, "precision_recall.")


def precision_recall(real: Any, fake: Any, *, neighbours: int = 3) -> Score:
    """Share of generated images among the real ones, and of real images among the generated ones.

    Around every image is a ball that reaches to its k-th nearest other image of the same set. Precision is the share
    of generated images strictly inside at least one real ball, recall that of real images strictly inside at least one
    ball of the generated.

    Args:
        real: features float (n, d) of real images, numpy or torch; taken as float32, compared in float64.
        fake: features float (m, d) of generated ones.
        neighbours: k.

    Returns:
        `precision_recall.precision` and `precision_recall.recall` in 0 ... 1, higher is better. Details: `n_real`,
        `n_made`.

    Undefined when:
        a set has no more than `neighbours` images.

    Source:
        Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", eqs. 1 and 2.

    Matches:
        prdc 0.2 to 1e-12 on the cases of tests/golden/images/features.json, with 3 and 5 neighbours.

    Differs from:
        prdc where rounding decides there: equal images, and images on the rim of a ball, which are outside here.
    """
    settings = Settings(neighbours=neighbours)
    return score(features_of(real, keep_rows=True), features_of(fake, keep_rows=True), settings, 0)


def score(real: Features, made: Features, settings: Settings, seed: int) -> Score:  # noqa: ARG001
    """Precision and recall of the features of real and generated images; see `precision_recall`."""
    real_rows, made_rows, reason = rows_of(real, made, settings.neighbours)
    counts = {"n_real": len(real_rows), "n_made": len(made_rows)}
    if reason:
        return Score({}, counts, dict.fromkeys(NAMES, reason))
    radii = [squared_radii(rows, settings.neighbours) for rows in (real_rows, made_rows)]
    found = memberships(real_rows, made_rows, *radii)
    shares = [(balls > 0).double().mean().item() for balls in (found.around_made, found.around_real)]
    return Score(dict(zip(NAMES, shares, strict=True)), counts)


METRIC = FeatureMetric(
    name="precision_recall",
    version=1,
    values=(
        ValueSpec(
            NAMES[0], "share of generated images among the real ones", invariant_to=frozenset({"permuting samples"})
        ),
        ValueSpec(
            NAMES[1], "share of real images among the generated ones", invariant_to=frozenset({"permuting samples"})
        ),
    ),
    settings=Settings,
    needs="generation",
    score=score,
    keeps_rows=True,
    citation=(
        "@inproceedings{kynkaanniemi2019improved, title={Improved Precision and Recall Metric for Assessing Generative "
        'Models}, author={Kynk{\\"a}{\\"a}nniemi, Tuomas and Karras, Tero and Laine, Samuli and Lehtinen, Jaakko and '
        "Aila, Timo}, booktitle={NeurIPS}, year={2019}}"
    ),
)
