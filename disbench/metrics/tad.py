"""TAD: total AUROC difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError, NotApplicable, UsageError
from disbench.metrics._attributes import attribute_table, detection_areas, entropy_reductions
from disbench.plan import distinct
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import (
    Codes,
    Draw,
    Factors,
    FactorSpace,
    Labels,
    Metric,
    Score,
    Tokens,
    ValueSpec,
)

_FEW = 10  # samples of one value
_CHOICES = {"auroc": ("exact", "sweep"), "statistics": ("all", "sample"), "tokens": ("pca", "flatten")}


@dataclass(frozen=True)
class Settings:
    """Settings of TAD. By default the area is exact, and which attributes are eligible is a matter of the data set."""

    metric: ClassVar[str] = "tad"

    num_train: int = 10_000  # distinct images
    auroc: str = "exact"  # from ranks, or `sweep`: over thresholds between a code's minimum and maximum
    thresholds: int = 101  # of the sweep
    min_range: float = 0.0  # in units of the codes; a code with no more range than this has an area of 0.5
    min_auroc: float = 0.75  # of the best code; an attribute with less is not captured
    max_reduction: float = 0.2  # share of an attribute's entropy; one of which another removes more is not eligible
    statistics: str = "all"  # reductions come from all labels of the data set, or from the `sample` that is scored
    tokens: str = "pca"  # the first principal component of each is a code; `flatten`: every coordinate is one
    folds: int = 1  # mean over the training parts of this many folds of the images; 1 for all of them at once

    def __post_init__(self) -> None:
        check_numbers(self, f"{self.metric}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{self.metric}.{name} is {' or '.join(known)}; got {getattr(self, name)!r}.")
        if self.thresholds < 2:
            raise UsageError(f"{self.metric}.thresholds must be at least 2, minimum and maximum; got 1.")


@dataclass(frozen=True)
class Nashae(Settings):
    """As the authors of NashAE have it, who introduced TAD."""

    metric: ClassVar[str] = "tad@nashae"

    num_train: int = 1_000
    auroc: str = "sweep"
    min_range: float = 0.2
    statistics: str = "sample"
    tokens: str = "flatten"


@dataclass(frozen=True)
class Disdiff(Settings):
    """As DisDiff's code has it; how many images it used is not published."""

    metric: ClassVar[str] = "tad@disdiff"

    auroc: str = "sweep"
    thresholds: int = 11
    min_range: float = 0.2
    statistics: str = "sample"
    tokens: str = "flatten"


@dataclass(frozen=True)
class Encdiff(Disdiff):
    """As EncDiff's code has it, which is DisDiff's; how many images it used is not published."""

    metric: ClassVar[str] = "tad@encdiff"


@dataclass(frozen=True)
class Dyga(Disdiff):
    """As DyGA's code has it: one principal component of each token."""

    metric: ClassVar[str] = "tad@dyga"

    tokens: str = "pca"


@dataclass(frozen=True)
class Infodiffusion(Settings):
    """As InfoDiffusion's code has it; that it standardises the codes first moves no exact area."""

    metric: ClassVar[str] = "tad@infodiffusion"

    statistics: str = "sample"
    tokens: str = "flatten"
    folds: int = 5


def tad(
    codes: Codes | Tokens,
    labels: Factors,
    *,
    auroc: str = "exact",
    thresholds: int = 101,
    min_range: float = 0.0,
    min_auroc: float = 0.75,
    max_reduction: float = 0.2,
    tokens: str = "pca",
    folds: int = 1,
) -> Score:
    """By how much one code detects each binary attribute better than any other code does, summed over attributes.

    With A[d, a] the area under the ROC curve of code d as a detector of attribute a, in the better of its two
    directions, TAD = sum_a A[a](1) - A[a](2), where (1) and (2) are the largest and second largest over d. The sum is
    over the captured attributes: those with A[a](1) >= `min_auroc` of which no other attribute tells much,
    max_b I(a; b) / H(a) <= `max_reduction`.

    Args:
        codes: float (n, d), or tokens (n, t, e); numpy or torch.
        labels: (n, a), two values each, of which the larger is the positive one.
        auroc: `exact`, or `sweep`: an upper sum over equal steps from the code's minimum to its maximum.
        thresholds: of the sweep.
        min_range: a code whose range is not larger has an area of 0.5.
        min_auroc: of the best code of a captured attribute.
        max_reduction: share of a captured attribute's entropy that another attribute may remove.
        tokens: `pca` makes a code of the first principal component of each, `flatten` one of every coordinate.
        folds: if more than 1: the mean over the training parts of this many shuffled folds.

    Returns:
        `tad` in 0 ... number of attributes / 2 (the sweep may go beyond) and `tad.captured`, the number of captured
        attributes; higher is better. Details: `attributes`, a table of areas, differences and reductions with why an
        attribute is left out (of several folds: the first one's), `remarks`; with folds also their values, `folds`, and
        `standard_deviation` (of the folds themselves, divided by their number). Coordinate j of flattened token i is
        code i * e + j.

    Undefined when:
        there is only one code, there are fewer than two samples (in a fold), or no attribute has two values. An
        attribute that takes one value only among the samples is left out. A code that is constant has an area of 0.5.

    Raises:
        DisbenchError: an attribute has more than two values.

    Source:
        Yeats et al. 2022, "NashAE: Disentangling Representations through Adversarial Covariance Minimization", and the
        code of its evaluation.

    Matches:
        areas: scikit-learn's `roc_auc_score` to 1e-10; every variant: plain loops in tests/oracles/tad.py to 1e-9, both
        on the arrays of tests/properties/test_tad.py.

    Differs from:
        NashAE's code, which sweeps 101 thresholds over one batch of 1,000 images, judges which attributes are eligible
        by that batch, gives a code with a range of at most 0.2 an area of 0.5, and takes the area of a code that is the
        only one for its lead: the variant `tad@nashae`, which leaves that undefined, too. DisDiff's and EncDiff's,
        which sweep 11 thresholds, on every coordinate of every token: `tad@disdiff`, `tad@encdiff`. DyGA's, which takes
        one principal component of each token: `tad@dyga`. Areas of a sweep are too large, the more so the fewer
        thresholds: with 11 a normal code that knows nothing has .60. InfoDiffusion's, which takes the mean over five
        folds: `tad@infodiffusion`.
    """
    settings = Settings(
        auroc=auroc,
        thresholds=thresholds,
        min_range=min_range,
        min_auroc=min_auroc,
        max_reduction=max_reduction,
        tokens=tokens,
        folds=folds,
    )
    shape = tuple(getattr(codes, "shape", ()))
    if len(shape) == 3:
        codes = codes.reshape(shape[0], -1)
    rows = check_rows(codes, labels)
    if (largest := rows.factors.amax(0)).amax() > 1:
        k = int(largest.argmax())
        raise DisbenchError(f"labels must have two values each; column {k} has {int(largest[k]) + 1}.")
    table = rows.codes.reshape(shape) if len(shape) == 3 else rows.codes
    return score(table, rows.samples().to(table.device), settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` distinct images; what the labels of all images tell about each other is the part `reduction`.

    Raises:
        NotApplicable: there are fewer images.
    """
    n_images = len(space.table) if isinstance(space, Labels) else len(space)
    if n_images < settings.num_train:
        raise NotApplicable(
            f"it needs {settings.num_train:,} different images and there are {n_images:,}; "
            f"--set {settings.metric}.num_train={n_images} takes them all"
        )
    index = distinct(n_images, settings.num_train, generator)
    labels = {"train": space.table[index] if isinstance(space, Labels) else space.values(index)}
    if settings.statistics == "all":
        labels["reduction"] = _reductions(space)
    return Draw({"train": index}, labels, space.names)


def _reductions(space: FactorSpace) -> Tensor:
    """What `entropy_reductions` finds in all images; those of a grid hold every combination equally often."""
    if isinstance(space, Labels):
        return entropy_reductions(space.table)
    return torch.zeros((space.n_factors, space.n_factors), dtype=torch.float64, device="cpu")


def score(codes: Codes | Tokens, draw: Draw, settings: Settings) -> Score:
    """TAD of the rows of `codes` that the draw's part `train` names; see `tad`."""
    labels = draw.labels["train"]
    codes = _as_codes(codes[draw.indices["train"]], settings.tokens)
    parts = _training_parts(len(labels), settings.folds)
    if reason := _why_undefined(codes, labels, draw.factor_names, parts):
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    tables = [_table(codes[part], labels[part], draw, settings) for part in parts]
    found = {
        "tad": [math.fsum(row["difference"] for row in table if row["captured"]) for table in tables],
        "tad.captured": [float(sum(row["captured"] for row in table)) for table in tables],
    }
    details: dict[str, Any] = {"attributes": tables[0], "remarks": _remarks(tables, len(labels))}
    if len(tables) > 1:
        deviations = {name: statistics.pstdev(values) for name, values in found.items()}
        details |= {"folds": found, "standard_deviation": deviations}
    return Score({name: math.fsum(values) / len(values) for name, values in found.items()}, details)


def _as_codes(codes: Codes | Tokens, tokens: str) -> Codes:
    if codes.ndim == 2:
        return codes
    from disbench.encode import REDUCERS  # it knows the models, which are not needed here otherwise

    reducer = REDUCERS[tokens]()
    reducer.fit(codes)
    return reducer(codes)


def _training_parts(n: int, folds: int) -> list[Tensor | slice]:
    """The rows to score, fold by fold; none if there are fewer rows than folds."""
    if folds == 1:
        return [slice(None)]
    if n < folds:
        return []
    from sklearn.model_selection import KFold

    split = KFold(folds, shuffle=True, random_state=0).split(range(n))
    return [torch.from_numpy(train) for train, _ in split]


def _why_undefined(codes: Codes, labels: Factors, names: Sequence[str], parts: Sequence[Tensor | slice]) -> str:
    """Why there is no TAD of codes (n, d) and labels (n, a); empty if there is."""
    if codes.shape[1] < 2:
        return "it compares the two codes that detect an attribute best; there is only one code"
    if len(labels) < 2 or not parts:
        return f"it needs at least two samples, and one for each fold; got {len(labels)}"
    if several := [name for name, largest in zip(names, labels.amax(0).tolist(), strict=True) if largest > 1]:
        return f"it needs attributes, labels of two values, and {several[0]!r} has more"
    if not all(bool((labels[part] != labels[part][0]).any()) for part in parts):
        within = "the training part of a fold" if len(parts) > 1 else "the samples"
        return f"every attribute takes a single value among {within}, so there is nothing to detect"
    return ""


def _table(codes: Codes, labels: Factors, draw: Draw, settings: Settings) -> list[dict[str, Any]]:
    """What there is to know of every attribute, from codes (n, d) and labels (n, a)."""
    thresholds = settings.thresholds if settings.auroc == "sweep" else None
    areas = detection_areas(codes, labels, thresholds, settings.min_range)
    reductions = draw.labels["reduction"] if "reduction" in draw.labels else entropy_reductions(labels)
    shares = labels.double().mean(0)
    limits = settings.min_auroc, settings.max_reduction
    return attribute_table(areas, shares, reductions, draw.factor_names, *limits)


def _remarks(tables: Sequence[Sequence[dict[str, Any]]], n: int) -> list[str]:
    """Sentences about attributes that take one value only, in any fold, or one value hardly ever."""
    single = {row["attribute"]: None for table in tables for row in table if row["auroc"] is None}
    rare = [row["attribute"] for row in tables[0] if 0 < n * min(row["positive"], 1 - row["positive"]) < _FEW]
    where = "the training part of a fold" if len(tables) > 1 else "the samples"
    remarks = [f"attributes left out, with a single value among {where}: {', '.join(single)}."] if single else []
    if rare:
        remarks.append(f"attributes with fewer than {_FEW} samples of one value, mostly chance: {', '.join(rare)}.")
    return remarks


METRIC = Metric(
    name="tad",
    version=1,
    values=(
        ValueSpec("tad", "lead of the code that detects an attribute best, summed over those captured", high=math.inf),
        ValueSpec("tad.captured", "number of attributes that a code detects well", high=math.inf),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "statistics"}),
    needs="attributes",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{yeats2022nashae, title={NashAE: Disentangling Representations through Adversarial Covariance "
        "Minimization}, author={Yeats, Eric and Liu, Frank and Womble, David and Li, Hai}, booktitle={ECCV}, "
        "year={2022}}"
    ),
    takes_tokens=True,
)

# A code that is scaled down falls to the range rule, and its area rises to 0.5 where the sweep has less.
_OF_SWEEP = frozenset({"scaling codes", "adding a dead code"})
VARIANTS = (
    METRIC.variant("nashae", Nashae, without=_OF_SWEEP),
    METRIC.variant("disdiff", Disdiff, without=_OF_SWEEP),
    METRIC.variant("encdiff", Encdiff, without=_OF_SWEEP),
    METRIC.variant("dyga", Dyga, without=_OF_SWEEP),
    METRIC.variant("infodiffusion", Infodiffusion, without=frozenset({"permuting samples"})),
)
