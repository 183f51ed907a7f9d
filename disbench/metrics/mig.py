"""Mutual information gap."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from disbench.metrics._information import information_gap
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of MIG; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per code

    def __post_init__(self) -> None:
        check_numbers(self, "mig.")


def mig(codes: Codes, factors: Factors, *, bins: int = 20) -> Score:
    """Gap between the two codes that know most about a factor, in units of its entropy, averaged over factors.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k:
    MIG = 1/K sum_k (M(1)[k] - M(2)[k]) / H(v_k), where (1) and (2) are the largest and second largest over d.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code.

    Returns:
        `mig` in 0 ... 1, higher is better. Details: `mutual_information` (d, k) and `entropy` (k,), in nats.

    Undefined when:
        there are fewer samples than bins, there is only one code, or a factor takes a single value (its entropy is 0).
        Constant codes are allowed: they know nothing, and if all are constant MIG is 0.

    Source:
        Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders", eq. 6; estimated from
        histograms as in the 2019 study.

    Matches:
        disentanglement_lib 1.5 `mig` to 1e-6, on every case of tests/golden/mig.json.

    Differs from:
        disentanglement_lib, which returns NaN for a single-valued factor and fails on one code: undefined here.
        Ubisoft's library, which divides by another entropy and uses 10 bins. Chen's own, which samples q(code | image).
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """MIG of the rows of `codes` that the draw's part `train` names; see `mig`."""
    return information_gap("mig", codes, draw, settings.bins)


METRIC = Metric(
    name="mig",
    version=1,
    values=(ValueSpec("mig", "gap between the two codes that know most about a factor"),),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{chen2018isolating, title={Isolating Sources of Disentanglement in Variational Autoencoders}, "
        "author={Chen, Ricky T. Q. and Li, Xuechen and Grosse, Roger and Duvenaud, David}, booktitle={NeurIPS}, "
        "year={2018}}"
    ),
)
