"""IRS, the interventional robustness score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import UsageError
from disbench.metrics._information import equal_width_bins
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec

_FAR = 4.0  # largest code over largest deviation, above which sums in float32 would lose what deviates
_MAX_PADDED = 2**24  # deviations laid out at once; bounds memory, not the result


@dataclass(frozen=True)
class Settings:
    """Sizes of IRS; the defaults are disentanglement_lib's (the 2019 study did not run it)."""

    num_train: int = 10_000  # samples
    bins: int = 20  # equal-width bins per factor: one with more values has some of them merged
    quantile: float = 0.99  # of the deviations within a group; 1 is the paper's maximum

    def __post_init__(self) -> None:
        check_numbers(self, "irs.")
        if self.quantile > 1:
            raise UsageError(f"irs.quantile must be at most 1; got {self.quantile}.")


def irs(codes: Codes, factors: Factors, *, bins: int = 20, quantile: float = 0.99) -> Score:
    """How little a code moves while the factor that it follows stands still, whatever the other factors do.

    A group g of factor k holds the samples of one value (of one of `bins` equal-width bins of values). With
    dev[d, k] the mean over groups of the `quantile` of |z[d] - mean_g z[d]| and maxdev[d] = max |z[d] - mean z[d]|:
    IRS[d, k] = 1 - dev[d, k] / maxdev[d]; the score is the mean over codes of max_k IRS[d, k], weighted by maxdev[d].

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k); if a factor has more values than bins, in a meaningful order.
        bins: groups per factor, at most.
        quantile: 0 ... 1, which deviation stands for a group; linearly interpolated.

    Returns:
        `irs`, at most 1, higher is better. Details: `matrix` (d, k) and `largest_deviation` (d,) of the codes that
        are not constant, whose positions are `codes`.

    Undefined when:
        never. Constant codes are left out; if all are constant the score is 0, as in the reference. Against a factor
        that takes a single value all samples are one group.
        A group of one sample deviates by 0, so that many values and few samples inflate the score.

    Source:
        Suter et al. 2019, "Robustly Disentangled Causal Mechanisms: Validating Deep Representations for Interventional
        Robustness", estimated as in disentanglement_lib.

    Matches:
        disentanglement_lib 1.5 `irs` to 1e-6, on every case of tests/golden/irs.json. For that, means of groups are
        summed in the codes' own precision: codes in float32 that follow a factor exactly miss 1 by 1e-5, in float64
        they reach it. Codes that lie far from 0 (by four times their largest deviation) are taken in float64.

    Differs from:
        disentanglement_lib, which keeps a constant code whose variance rounding makes positive, and whose
        `num_active_dims` is the sum of all codes (here left out). The paper, whose quantile is 1. Ubisoft's library,
        whose quantile is 1 and which bins only factors declared continuous.
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins, quantile=quantile))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """IRS of the rows of `codes` that the draw's part `train` names; see `irs`."""
    codes = codes[draw.indices["train"]]
    varying = (codes != codes[0]).any(0).nonzero()[:, 0]
    if not len(varying):
        return Score({"irs": 0.0}, {"codes": [], "matrix": [], "largest_deviation": []})
    codes = codes[:, varying]
    largest = (codes.double() - codes.double().mean(0)).abs().amax(0)
    if bool((codes.abs().amax(0) > _FAR * largest).any()):
        codes = codes.double()
    groups = equal_width_bins(draw.labels["train"].double(), settings.bins)
    deviation = torch.stack([_deviation_in_groups(codes, of, settings.quantile) for of in groups.T], dim=1)
    matrix = 1 - deviation / largest[:, None]
    value = (matrix.amax(1) * largest).sum() / largest.sum()
    details = {"codes": varying.tolist(), "matrix": matrix.tolist(), "largest_deviation": largest.tolist()}
    return Score({"irs": value.item()}, details)


def _deviation_in_groups(codes: Codes, groups: Tensor, quantile: float) -> Tensor:
    """float64 (d,): mean over groups of the quantile of each code's distance from its mean in the group.

    The samples of a group are laid out in a row, and only as many of their largest deviations are sorted as the
    quantile reaches down to.
    """
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[group[order]]
    n_groups, longest = len(counts), int(counts.max())
    is_sample = torch.arange(longest, device=counts.device) < counts[:, None]
    position = (counts - 1) * quantile
    below = position.floor().long()
    depth = int((counts - below).max())
    lower_rank = counts - 1 - below  # counted from the largest
    upper_rank = (lower_rank - 1).clamp_min(0)
    results = []
    for some in codes.tensor_split(-(-n_groups * longest * codes.shape[1] // _MAX_PADDED), dim=1):
        laid_out = some.new_zeros(n_groups, longest, some.shape[1])
        laid_out[group, place] = some
        distances = (laid_out - _means(laid_out, counts)[:, None]).abs().double()
        largest = distances.masked_fill(~is_sample[:, :, None], -torch.inf).topk(depth, dim=1).values
        lower, upper = (
            largest.gather(1, rank[:, None, None].expand(-1, 1, some.shape[1]))[:, 0]
            for rank in (lower_rank, upper_rank)
        )
        results.append((lower + (upper - lower) * (position - below)[:, None]).mean(0))
    return torch.cat(results)


def _means(laid_out: Tensor, counts: Tensor) -> Tensor:
    """Means (g, d) of groups (g, longest, d) that zeros fill up, in the dtype and the order of summation of numpy.

    numpy adds the rows of a group one after the other. In float32 that moves a mean by 1e-5, which moves the score of
    codes that follow a factor exactly; torch would sum in another order on each device.
    """
    rows = laid_out.cpu().numpy()
    single = rows.shape[2] == 1  # of a single column it would add pairs first
    sums = torch.from_numpy((rows.repeat(2, axis=2) if single else rows).sum(1)).to(laid_out.device)
    sums = sums[:, :1] if single else sums
    return sums / counts[:, None].to(sums)


METRIC = Metric(
    name="irs",
    version=1,
    values=(
        ValueSpec(
            "irs",
            "codes stand still while the factor that they follow does",
            low=-1.0,  # a group may lie off the centre, so that its deviations exceed the largest one from the mean
            invariant_to=INVARIANCES - {"scaling codes"},  # a code weighs as much as it varies
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{suter2019robustly, title={Robustly Disentangled Causal Mechanisms: Validating Deep "
        "Representations for Interventional Robustness}, author={Suter, Raphael and Miladinovi{\\'c}, {\\DJ}or{\\dj}e "
        'and Sch{\\"o}lkopf, Bernhard and Bauer, Stefan}, booktitle={ICML}, year={2019}}'
    ),
    tolerance=1e-5,  # means in float32 depend on the order of the samples
)
