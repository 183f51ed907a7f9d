"""KID: the maximum mean discrepancy between features of real and of generated images, under a polynomial kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from disbench.errors import UsageError
from disbench.features import Features, check_comparable, features_of
from disbench.metrics.images._kernel import discrepancies, subset_marks
from disbench.settings import check_numbers
from disbench.types import FeatureMetric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of KID, the usual ones, and its features."""

    num_images: int = 10_000  # images of each set
    features: str = "inception"  # the extractor
    subsets: int = 100  # pairs of random subsets
    subset_size: int = 1_000  # images of each

    def __post_init__(self) -> None:
        check_numbers(self, "kid.")
        if self.subset_size < 2:
            raise UsageError("kid.subset_size must be at least 2: it takes two images to make a pair.")


def kid(real: Any, fake: Any, *, subsets: int = 100, subset_size: int = 1_000, seed: int = 0) -> Score:
    """Unbiased squared maximum mean discrepancy of two sets of features, averaged over random subsets.

    With k(x, y) = (x.y / d + 1)^3 and subsets X, Y of s images each: the mean of k over ordered pairs of different
    images of X, plus that of Y, minus twice the mean over X x Y. Subsets are drawn without replacement, anew each time.

    Args:
        real: features float (n, d) of real images, numpy or torch; taken as float32.
        fake: features float (m, d) of generated ones.
        subsets: how many pairs of subsets.
        subset_size: images of each, s.
        seed: of the subsets.

    Returns:
        `kid` in -inf ... inf, lower is better; 0 is expected of equal distributions, for any number of images, so it
        can be slightly negative. Details: `standard_deviation` over subsets (ddof 0) and `all_images`, the same
        estimate from all pairs at once; `n_real`, `n_made`.

    Undefined when:
        a set has fewer images than `subset_size`.

    Source:
        Binkowski et al. 2018, "Demystifying MMD GANs", section 4.

    Matches:
        torch-fidelity 0.4.0 to 1e-10, relative, on the cases of tests/golden/images/features.json: mean and standard
        deviation over the subsets that it draws, and the estimate from all images.

    Differs from:
        torch-fidelity and clean-fid in which subsets are drawn; clean-fid also shrinks subsets to the number of images.
    """
    settings = Settings(subsets=subsets, subset_size=subset_size)
    return score(features_of(real, keep_rows=True), features_of(fake, keep_rows=True), settings, seed)


def score(real: Features, made: Features, settings: Settings, seed: int) -> Score:
    """KID of the features of real and generated images; see `kid`."""
    check_comparable(real.statistics, made.statistics)
    assert real.rows is not None, "KID reads every image's features"
    assert made.rows is not None, "KID reads every image's features"
    counts = {"n_real": len(real.rows), "n_made": len(made.rows)}
    if min(counts.values()) < settings.subset_size:
        return Score({}, counts, {"kid": _too_few(min(counts.values()), settings)})
    generator = Generator().manual_seed(seed)
    marks = []
    for rows in (real.rows, made.rows):
        drawn = subset_marks(len(rows), settings.subset_size, settings.subsets, generator)
        marks.append(torch.cat([drawn, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1))
    found = discrepancies(real.rows, made.rows, *marks)
    over_subsets, all_images = found[:-1], found[-1]
    details = {
        "standard_deviation": over_subsets.std(correction=0).item(),
        "all_images": all_images.item(),
        **counts,
    }
    return Score({"kid": over_subsets.mean().item()}, details)


def _too_few(n: int, settings: Settings) -> str:
    few = f"there are {n:,} images and subsets have {settings.subset_size:,}; "
    return few + (f"try --set kid.subset_size={n}" if n > 1 else "it takes at least 2")


METRIC = FeatureMetric(
    name="kid",
    version=1,
    values=(
        ValueSpec(
            "kid",
            "maximum mean discrepancy between features of real and generated images, mean over random subsets",
            low=-math.inf,
            high=math.inf,
            direction="lower",
            invariant_to=frozenset(),
        ),
    ),
    settings=Settings,
    needs="generation",
    score=score,
    keeps_rows=True,
    citation=(
        "@inproceedings{binkowski2018demystifying, title={Demystifying {MMD} {GANs}}, author={Bi{\\'n}kowski, "
        "Miko{\\l}aj and Sutherland, Danica J. and Arbel, Michael and Gretton, Arthur}, booktitle={ICLR}, year={2018}}"
    ),
)
