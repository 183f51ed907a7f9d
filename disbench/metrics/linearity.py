"""Linearity and axis alignment of traversals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError
from disbench.metrics._traversals import draw_traversals, mean_per_factor
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec

_ROUNDING = 1e-12  # a ratio below this is 0


@dataclass(frozen=True)
class Settings:
    """Size of linearity; the default is disent's."""

    repeats: int = 1024  # traversals per factor

    def __post_init__(self) -> None:
        check_numbers(self, "linearity.")


def linearity(codes: Codes, factors: Factors, *, repeats: int = 1024, seed: int = 0) -> Score:
    """How nearly the codes of a traversal lie on one axis, on one line, and how nearly that line is an axis.

    In a traversal a factor runs through its values in order, the others stand at a random point. With a the variances
    of its codes along the D axes, e those along its principal directions, and r(x) = (max x / sum x - 1/D) / (1 - 1/D):
    axis_ratio = r(a), linear_ratio = r(e), axis_alignment = r(a) / r(e). Each is averaged over the traversals of a
    factor, then over factors by a geometric mean.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k); the rows hold every combination, in any order.
        repeats: traversals per factor.
        seed: of the draws.

    Returns:
        `linearity.axis_ratio`, `linearity.linear_ratio` and `linearity.axis_alignment`, all in 0 ... 1, higher is
        better. Details: the three per factor that varies, `axis_ratio`, `linear_ratio` and `axis_alignment` (k,).

    Undefined when:
        no factor takes more than one value (others that take one are left out), or there is only one code.
        A traversal in which no code moves counts as 0 in all three, and so does the alignment of one whose codes
        vary alike in all directions. The geometric mean is 0 as soon as one factor's is.

    Raises:
        DisbenchError: the rows lack combinations, so there are no whole traversals.

    Source:
        Michlo's disent, `metric_linearity`.

    Matches:
        disent 0.8.0 `linearity` (its values ending in `.var`) within sampling error from own draws, on every case of
        tests/golden/linearity.json.

    Differs from:
        disent, which returns NaN if no code moves in some traversal (here: 0), and works in float32.
    """
    settings = Settings(repeats)
    rows = check_rows(codes, factors)
    found = rows.draw(METRIC, settings, Generator().manual_seed(seed), seed)
    if isinstance(found, str):
        raise DisbenchError(f"linearity looks at whole traversals: {found}.")
    return score(rows.codes, found, settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`repeats` traversals of every factor that varies."""
    return draw_traversals(space, settings.repeats, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:  # noqa: ARG001 - every metric has this signature
    """Linearity of the traversals that the draw names among the rows of `codes`; see `linearity`."""
    if reason := _undefined(codes, draw):
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    per_factor = mean_per_factor(codes, draw, _ratios)
    means = per_factor.log().mean(0).exp().tolist()
    names = [value.name for value in METRIC.values]
    details = {name.removeprefix("linearity."): of.tolist() for name, of in zip(names, per_factor.T, strict=True)}
    return Score(dict(zip(names, means, strict=True)), details)


def _undefined(codes: Codes, draw: Draw) -> str:
    if not len(draw.labels["varying"]):
        return "no factor takes more than one value, so there is nothing to traverse"
    if codes.shape[1] < 2:
        return "with one code every traversal lies on one axis"
    return ""


def _ratios(traversals: Tensor) -> Tensor:
    """(r, 3): axis ratio, linear ratio and axis alignment of traversals (r, size, d)."""
    n_codes = traversals.shape[2]
    centred = traversals - traversals.mean(1, keepdim=True)
    largest = centred.abs().amax((1, 2), keepdim=True)
    centred = centred / torch.where(largest > 0, largest, 1.0)
    of_axes = centred.square().sum(1)
    total = of_axes.sum(1)
    # Either product has the eigenvalues that are not 0; the smaller is cheaper.
    product = centred.mT @ centred if n_codes <= traversals.shape[1] else centred @ centred.mT
    of_line = torch.linalg.eigvalsh(product)[:, -1]
    shares = torch.stack([of_axes.amax(1), of_line], dim=1) / total[:, None]
    ratios = ((shares - 1 / n_codes) / (1 - 1 / n_codes)).clamp(0, 1)
    ratios = torch.where((total[:, None] > 0) & (ratios > _ROUNDING), ratios, 0.0)
    axis, line = ratios.T
    alignment = torch.where(line > 0, axis / line, 0.0).clamp_max(1)
    return torch.cat([ratios, alignment[:, None]], dim=1)


_INVARIANT = INVARIANCES - {"scaling codes", "adding a dead code"}  # variances are compared, and D is part of r

METRIC = Metric(
    name="linearity",
    version=1,
    values=(
        ValueSpec("linearity.axis_ratio", "traversals of a factor lie on one axis", invariant_to=_INVARIANT),
        ValueSpec("linearity.linear_ratio", "traversals of a factor lie on one line", invariant_to=_INVARIANT),
        ValueSpec("linearity.axis_alignment", "that line is an axis", invariant_to=_INVARIANT),
    ),
    settings=Settings,
    needs="interventions",
    draw=draw,
    score=score,
    citation=(
        "@misc{michlo2021disent, title={Disent: a modular disentangled representation learning framework for PyTorch}, "
        "author={Michlo, Nathan Juraj}, howpublished={https://github.com/nmichlo/disent}, year={2021}}"
    ),
)
