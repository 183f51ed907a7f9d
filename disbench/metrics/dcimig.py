"""DCIMIG: each factor's best code, by how much more that code knows about it than about any other factor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from disbench.metrics._information import entropies, equal_width_bins, mutual_information, undefined_information
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Sizes of DCIMIG; samples and bins are the 2019 study's for MIG."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per code

    def __post_init__(self) -> None:
        check_numbers(self, "dcimig.")


def dcimig(codes: Codes, factors: Factors, *, bins: int = 20) -> Score:
    """Largest gap among the codes that belong to a factor, summed over factors, in units of their entropies.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k, code d
    belongs to the factor k_d with the largest M[d, k], by the gap g_d to the second largest:
    DCIMIG = sum_k max_{d: k_d = k} g_d / sum_k H(v_k). A factor to which no code belongs adds nothing above.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        bins: number of bins per code.

    Returns:
        `dcimig` in 0 ... 1, higher is better. Details: `mutual_information` (d, k) and `gap` (k,), in nats.

    Undefined when:
        there are fewer samples than bins, there is only one factor, or a factor takes a single value.
        Constant codes are allowed: their gap is 0.

    Source:
        Sepliarskaia, Kiseleva and de Rijke 2019, "Evaluating Disentangled Representations", in the
        histogram form of Ubisoft's library.

    Matches:
        Ubisoft's library (20 bins) to 1e-9, on the cases of tests/golden/dcimig.json.

    Differs from:
        Ubisoft's library, whose default is 10 bins.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """DCIMIG of the rows of `codes` that the draw's part `train` names; see `dcimig`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if reason := undefined_information("DCIMIG", codes, draw, settings.bins, min_codes=1, min_factors=2):
        return Score({}, undefined={"dcimig": reason})
    information = mutual_information(equal_width_bins(codes, settings.bins), factors, settings.bins)
    top, owners = information.topk(2, dim=1)
    gaps = top[:, 0] - top[:, 1]  # of a tie, whichever factor owns the code gets 0
    of_factor = torch.zeros_like(information[0]).scatter_reduce(0, owners[:, 0], gaps, "amax")
    value = of_factor.sum() / entropies(factors).sum()
    return Score({"dcimig": value.item()}, {"mutual_information": information.tolist(), "gap": of_factor.tolist()})


METRIC = Metric(
    name="dcimig",
    version=1,
    values=(ValueSpec("dcimig", "each factor has a code that knows about it alone"),),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@article{sepliarskaia2019evaluating, title={Evaluating Disentangled Representations}, "
        "author={Sepliarskaia, Anna and Kiseleva, Julia and de Rijke, Maarten}, journal={arXiv:1910.05587}, "
        "year={2019}}"
    ),
)
