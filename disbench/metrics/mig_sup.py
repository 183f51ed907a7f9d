"""MIG-sup: the gap between the two factors that a code knows most about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from disbench.errors import UsageError
from disbench.metrics._information import (
    bin_entropies,
    entropies,
    equal_width_bins,
    mutual_information,
    undefined_information,
)
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of MIG-sup; samples and bins are the 2019 study's for MIG."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per code
    unit: str = "factor"  # whose entropy information is measured in: the factor's or the code's

    def __post_init__(self) -> None:
        check_numbers(self, "mig_sup.")
        if self.unit not in ("factor", "code"):
            raise UsageError(f"mig_sup.unit is factor or code; got {self.unit!r}.")


@dataclass(frozen=True)
class Ubisoft(Settings):
    """As Ubisoft's library computes it."""

    bins: int = 10
    unit: str = "code"


def mig_sup(codes: Codes, factors: Factors, *, bins: int = 20, unit: str = "factor") -> Score:
    """Gap between the two factors that a code knows most about, averaged over codes.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k, and
    N[d, k] = M[d, k] / H(v_k): MIG-sup = 1/D sum_d (N[d](1) - N[d](2)), where (1) and (2) are the largest and second
    largest over k. It is to modularity what MIG is to compactness.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code.
        unit: `factor` divides by H(v_k), `code` by the entropy of the binned code.

    Returns:
        `mig_sup` in 0 ... 1, higher is better. Details: `mutual_information` (d, k) in nats, `per_code` (d,).

    Undefined when:
        there are fewer samples than bins, there is only one factor, or a factor takes a single value (its entropy is
        0). A constant code knows nothing and counts as 0.

    Source:
        Li et al. 2020, "Progressive Learning and Disentanglement of Hierarchical Representations";
        estimated from histograms as the 2019 study does for MIG.

    Matches:
        the variant `mig_sup@ubisoft`: Ubisoft's library to 1e-6 with 20 bins, on the cases of
        tests/golden/mig_sup.json.

    Differs from:
        Ubisoft's library, which divides by the entropy of the code and uses 10 bins: the variant `mig_sup@ubisoft`.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins, unit=unit))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """MIG-sup of the rows of `codes` that the draw's part `train` names; see `mig_sup`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if reason := undefined_information("MIG-sup", codes, draw, settings.bins, min_codes=1, min_factors=2):
        return Score({}, undefined={"mig_sup": reason})
    labels = equal_width_bins(codes, settings.bins)
    information = mutual_information(labels, factors, settings.bins)
    entropy = entropies(factors) if settings.unit == "factor" else bin_entropies(labels, settings.bins)[:, None]
    best, second = torch.where(information > 0, information / entropy, 0.0).topk(2, dim=1).values.T
    per_code = best - second
    details = {"mutual_information": information.tolist(), "per_code": per_code.tolist()}
    return Score({"mig_sup": per_code.mean().item()}, details)


METRIC = Metric(
    name="mig_sup",
    version=1,
    values=(
        ValueSpec(
            "mig_sup",
            "gap between the two factors that a code knows most about",
            invariant_to=INVARIANCES - {"adding a dead code"},  # which counts as 0 in the mean
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{li2020progressive, title={Progressive Learning and Disentanglement of Hierarchical "
        "Representations}, author={Li, Zhiyuan and Murkute, Jaideep Vitthal and Gyawali, Prashnna Kumar and "
        "Wang, Linwei}, booktitle={ICLR}, year={2020}}"
    ),
)

VARIANTS = (METRIC.variant("ubisoft", Ubisoft),)
