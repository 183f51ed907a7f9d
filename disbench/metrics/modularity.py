"""Modularity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from disbench.metrics._information import equal_width_bins, mutual_information, undefined_information
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of modularity; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per code

    def __post_init__(self) -> None:
        check_numbers(self, "modularity.")


def modularity(codes: Codes, factors: Factors, *, bins: int = 20) -> Score:
    """How far each code knows about one factor only, averaged over codes.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k, and m_d the
    largest of row d: modularity = 1/D sum_d (1 - (sum_k M[d, k]^2 - m_d^2) / (m_d^2 (K - 1))).

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code.

    Returns:
        `modularity` in 0 ... 1, higher is better. Details: `mutual_information` (d, k) in nats, `per_code` (d,).

    Undefined when:
        there are fewer samples than bins, there is only one factor, or a factor takes a single value.
        A code that knows nothing, as a constant one, counts as 0; a code of noise counts as anything between 0 and 1,
        since its small values of M have no clear winner. Both are part of the mean, as in the reference.

    Source:
        Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings With the F-Statistic Loss", section 3.

    Matches:
        disentanglement_lib 1.5 `modularity_explicitness` to 1e-9, on every case of tests/golden/modularity.json, and
        Ubisoft's library (20 bins) to 1e-4: it rescales codes before it bins them, which moves samples across an edge.

    Differs from:
        disentanglement_lib, which computes explicitness along with it and loses both to one constant code or one
        single-valued factor. Ubisoft's library, which divides by 0 for a code that knows nothing, and uses 10 bins.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """Modularity of the rows of `codes` that the draw's part `train` names; see `modularity`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if reason := undefined_information("modularity", codes, draw, settings.bins, min_codes=1, min_factors=2):
        return Score({}, undefined={"modularity": reason})
    information = mutual_information(equal_width_bins(codes, settings.bins), factors, settings.bins)
    relative = (information / information.amax(1, keepdim=True)).square()  # 1 at the factor known best
    excess = (relative.sum(1) - 1) / (factors.shape[1] - 1)
    per_code = torch.where(information.amax(1) > 0, 1 - excess, 0.0)
    details = {"mutual_information": information.tolist(), "per_code": per_code.tolist()}
    return Score({"modularity": per_code.mean().item()}, details)


METRIC = Metric(
    name="modularity",
    version=1,
    values=(
        ValueSpec(
            "modularity",
            "each code knows about one factor only",
            invariant_to=INVARIANCES - {"adding a dead code"},  # which counts as 0 in the mean
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{ridgeway2018learning, title={Learning Deep Disentangled Embeddings With the F-Statistic Loss}, "
        "author={Ridgeway, Karl and Mozer, Michael C.}, booktitle={NeurIPS}, year={2018}}"
    ),
)
