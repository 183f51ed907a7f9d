"""Mean mutual information between codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator

from disbench.metrics._information import equal_width_bins
from disbench.metrics._information import mutual_information as information_between
from disbench.metrics._memory import require_memory
from disbench.metrics._unlabelled import unlabelled_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of the mean mutual information; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples; fewer raise the value: the estimate is biased by about (bins - 1)^2 / 2n
    bins: int = 20  # equal-width bins per code

    def __post_init__(self) -> None:
        check_numbers(self, "mutual_information.")


def mutual_information(codes: Codes, *, bins: int = 20) -> Score:
    """Mean mutual information of two different codes; no labels are needed.

    With M[d, e] the mutual information of codes d and e, each in `bins` equal-width bins over its range:
    sum_{d != e} M[d, e] / (D^2 - D), in nats.

    Args:
        codes: float (n, d), numpy or torch.
        bins: number of bins per code.

    Returns:
        `mutual_information` in 0 ... ln(bins), lower is better. Details: `matrix` (d, d), whose diagonal is the
        entropy of each binned code.

    Undefined when:
        there are fewer samples than bins, or there is only one code.
        A constant code has no information about any other: it is part of the mean with 0, and if all are constant the
        value is 0.

    Source:
        Locatello et al. 2019, "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
        Representations", section 5.1.

    Matches:
        disentanglement_lib 1.5 `unsupervised_metrics` to 1e-9, on every case of
        tests/golden/mutual_information.json.

    Differs from:
        disentanglement_lib, which fails on one code (here: undefined). disent, whose fast setting of 2,000 samples
        gives higher numbers.
    """
    rows = unlabelled_rows(codes)
    return score(rows.codes, rows.samples(), Settings(bins=bins))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """Mean mutual information, of the rows of `codes` that the draw's part `train` names; see `mutual_information`."""
    codes = codes[draw.indices["train"]]
    n, n_codes = codes.shape
    if reason := _undefined(n, n_codes, settings):
        return Score({}, undefined={"mutual_information": reason})
    n_bytes = 8 * (3 * n * n_codes + 8 * n_codes**2)
    require_memory(n_bytes, codes.device, f"the mutual information between {n_codes:,} codes")
    labels = equal_width_bins(codes, settings.bins)
    matrix = information_between(labels, labels, settings.bins)
    value = (matrix.sum() - matrix.trace()) / (n_codes**2 - n_codes)
    return Score({"mutual_information": value.item()}, {"matrix": matrix.tolist()})


def _undefined(n: int, n_codes: int, settings: Settings) -> str:
    if n < settings.bins:
        return f"mutual information with {settings.bins} bins needs at least {settings.bins} samples; got {n}"
    if n_codes < 2:
        return "the mutual information is that between codes; there is only one code"
    return ""


METRIC = Metric(
    name="mutual_information",
    version=1,
    values=(
        ValueSpec(
            "mutual_information",
            "mean mutual information of two different codes, in nats",
            high=math.inf,  # ln(bins)
            direction="lower",
            invariant_to=INVARIANCES - {"adding a dead code"},  # whose zeros are part of the mean
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{locatello2019challenging, title={Challenging Common Assumptions in the Unsupervised Learning "
        "of Disentangled Representations}, author={Locatello, Francesco and Bauer, Stefan and Lucic, Mario and "
        'R{\\"a}tsch, Gunnar and Gelly, Sylvain and Sch{\\"o}lkopf, Bernhard and Bachem, Olivier}, booktitle={ICML}, '
        "year={2019}}"
    ),
)
