"""RMIG, the robust mutual information gap, in its histogram form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from disbench.metrics._information import information_gap
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of RMIG; the bins are the default of its authors' script."""

    num_train: int = 10_000  # samples
    bins: int = 100  # equal-width bins per code

    def __post_init__(self) -> None:
        check_numbers(self, "rmig.")


def rmig(codes: Codes, factors: Factors, *, bins: int = 100) -> Score:
    """MIG's formula over finer bins: the gap between the two codes that know most about a factor, over its entropy.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k:
    RMIG = 1/K sum_k (M(1)[k] - M(2)[k]) / H(v_k), where (1) and (2) are the largest and second largest over d. This is
    MIG to the letter. What sets RMIG apart is how its authors estimate M: from q(code | image), which spreads a sample
    over the bins. Codes are points here, so that each falls into one bin, and only the number of bins is RMIG's own.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code. M is biased upwards by about (bins - 1)(size - 1) / 2n nats; it mostly cancels
            in the gap.

    Returns:
        `rmig` in 0 ... 1, higher is better. Details: `mutual_information` (d, k) and `entropy` (k,), in nats.

    Undefined when:
        there are fewer samples than bins, there is only one code, or a factor takes a single value (its entropy is 0).
        Constant codes are allowed: they know nothing, and if all are constant RMIG is 0.

    Source:
        Do and Tran 2020, "Theory and Evaluation Metrics for Learning Disentangled Representations".

    Matches:
        tests/oracles/rmig.py to 1e-9; no reference implementation takes points. With 20 bins it is `mig`.

    Differs from:
        the authors' code, which puts 100 bins (200 in the paper's runs on dSprites) on [-4, 4] whatever the codes'
        range, weighs them by the density of q(code | image), and uses the whole data set.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """RMIG of the rows of `codes` that the draw's part `train` names; see `rmig`."""
    return information_gap("rmig", codes, draw, settings.bins)


METRIC = Metric(
    name="rmig",
    version=1,
    values=(ValueSpec("rmig", "gap between the two codes that know most about a factor, over finer bins"),),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{do2020theory, title={Theory and Evaluation Metrics for Learning Disentangled Representations}, "
        "author={Do, Kien and Tran, Truyen}, booktitle={ICLR}, year={2020}}"
    ),
)
