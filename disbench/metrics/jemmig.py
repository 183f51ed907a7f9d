"""JEMMIG, the joint-entropy-minus-mutual-information gap, in its histogram form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator

from disbench.metrics._information import (
    bin_entropies,
    entropies,
    equal_width_bins,
    mutual_information,
    undefined_information,
)
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec

_TIE = 1e-9  # nats; codes this near the largest information are tied


@dataclass(frozen=True)
class Settings:
    """Sizes of JEMMIG; samples and bins are the 2019 study's for MIG."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per code
    complement: bool = False  # report 1 - value, of which higher is better; see jemmig@ubisoft

    def __post_init__(self) -> None:
        check_numbers(self, "jemmig.")


@dataclass(frozen=True)
class Ubisoft(Settings):
    """As Ubisoft's library computes it."""

    bins: int = 10
    complement: bool = True


def jemmig(codes: Codes, factors: Factors, *, bins: int = 20, complement: bool = False) -> Score:
    """How much a factor's best code holds beside the factor, plus what the second best knows of it; lower is better.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k, z* the code
    that knows most about factor k and z' the second: JEMMIG = 1/K sum_k (H(z*, v_k) - M[z*, k] + M[z', k]) /
    (H(v_k) + ln bins). Unlike MIG it is worse for a code that knows about other factors, or holds noise, as well. Of
    codes that tie for z* the one with the smallest entropy stands, which gives the lowest value.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code.
        complement: report 1 - value.

    Returns:
        `jemmig` in 0 ... 1, lower is better (`jemmig@ubisoft`: higher). Details: `mutual_information` (d, k),
        `joint_entropy` (k,) of z* and the factor, in nats, and `per_factor` (k,), never the complement.

    Undefined when:
        there are fewer samples than bins, there is only one code, or a factor takes a single value (nothing can be
        known about it). Constant codes are allowed: if all are constant, JEMMIG is the mean of H(v_k) / (H(v_k) +
        ln bins).

    Source:
        Do and Tran 2020, "Theory and Evaluation Metrics for Learning Disentangled Representations",
        normalised as in the authors' code.

    Matches:
        the variant `jemmig@ubisoft`: Ubisoft's library to 1e-6 with 20 bins, on the cases of
        tests/golden/jemmig.json.

    Differs from:
        the authors' code, which spreads each sample over 100 or 200 bins on [-4, 4] by the density of q(code | image);
        codes are points here. Ubisoft's library, which reports 1 - value with 10 bins, the variant `jemmig@ubisoft`.
        Its logarithms are to base 2, which cancels.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins, complement=complement))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """JEMMIG of the rows of `codes` that the draw's part `train` names; see `jemmig`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if reason := undefined_information("JEMMIG", codes, draw, settings.bins, min_codes=2, min_factors=1):
        return Score({}, undefined={"jemmig": reason})
    labels = equal_width_bins(codes, settings.bins)
    information = mutual_information(labels, factors, settings.bins)
    entropy = entropies(factors)
    best, second = information.topk(2, dim=0).values
    of_code = bin_entropies(labels, settings.bins)[:, None].expand_as(information)
    of_best = of_code.masked_fill(information < best - _TIE, torch.inf).amin(0)
    joint = of_best + entropy - best
    per_factor = (joint - best + second) / (entropy + math.log(settings.bins))
    value = per_factor.mean().item()
    details = {
        "mutual_information": information.tolist(),
        "joint_entropy": joint.tolist(),
        "per_factor": per_factor.tolist(),
    }
    return Score({"jemmig": 1 - value if settings.complement else value}, details)


METRIC = Metric(
    name="jemmig",
    version=1,
    values=(
        ValueSpec(
            "jemmig",
            "what a factor's best code holds beside the factor, and what the second best knows of it",
            direction="lower",
        ),
    ),
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

_UBISOFT = METRIC.variant("ubisoft", Ubisoft)
VARIANTS = (replace(_UBISOFT, values=tuple(replace(value, direction="higher") for value in _UBISOFT.values)),)
