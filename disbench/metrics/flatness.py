"""Flatness: how nearly a traversal of a factor is a straight line along one code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError
from disbench.metrics._traversals import draw_traversals, mean_per_factor
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Size of flatness; the default is disent's."""

    repeats: int = 1024  # traversals per factor

    def __post_init__(self) -> None:
        check_numbers(self, "flatness.")


def flatness(codes: Codes, factors: Factors, *, repeats: int = 1024, seed: int = 0) -> Score:
    """Width of traversals (straight across) in units of their length (step by step, in L1), averaged over factors.

    In a traversal a factor runs through its values in order, the others stand at a random point. Its width_p is the
    largest distance between two of its codes in the norm p, its length_p the sum of the steps from one value to the
    next and from the last to the first, without the largest of them: that one closes the circle of a factor that is
    none. With means over traversals: flatness = 1/K sum_k width_2[k] / length_1[k]. It is 1 if the codes of each
    traversal lie in order on a line along one code.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k) in a meaningful order; the rows hold every combination, in any order.
        repeats: traversals per factor.
        seed: of the draws.

    Returns:
        `flatness` in 0 ... 1, higher is better. Details: the same ratio with one norm above and below, `flatness_l1`
        and `flatness_l2`, and per factor that varies (k,) `width_l1`, `width_l2`, `length_l1` and `length_l2`.

    Undefined when:
        no factor takes more than one value; others that take one are left out.
        A factor in whose traversals no code moves counts as 0.

    Raises:
        DisbenchError: the rows lack combinations, so there are no whole traversals.

    Source:
        Michlo's disent, `metric_flatness`.

    Matches:
        disent 0.8.0 `flatness` within sampling error from own draws, on the cases of tests/golden/flatness.json.

    Differs from:
        disent only in working in float64.
    """
    settings = Settings(repeats)
    rows = check_rows(codes, factors)
    found = rows.draw(METRIC, settings, Generator().manual_seed(seed), seed)
    if isinstance(found, str):
        raise DisbenchError(f"flatness looks at whole traversals: {found}.")
    return score(rows.codes, found, settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`repeats` traversals of every factor that varies."""
    return draw_traversals(space, settings.repeats, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:  # noqa: ARG001 - every metric has this signature
    """Flatness of the traversals that the draw names among the rows of `codes`; see `flatness`."""
    if not len(draw.labels["varying"]):
        return Score({}, undefined={"flatness": "no factor takes more than one value, so there is nothing to traverse"})
    width_l1, length_l1, width_l2, length_l2 = mean_per_factor(codes, draw, _widths_and_lengths).T
    details = {
        "flatness_l1": _mean_ratio(width_l1, length_l1),
        "flatness_l2": _mean_ratio(width_l2, length_l2),
        "width_l1": width_l1.tolist(),
        "width_l2": width_l2.tolist(),
        "length_l1": length_l1.tolist(),
        "length_l2": length_l2.tolist(),
    }
    return Score({"flatness": _mean_ratio(width_l2, length_l1)}, details)


def _widths_and_lengths(traversals: Tensor) -> Tensor:
    """(r, 4): width and length in L1, width and length in L2, of traversals (r, size, d)."""
    steps = traversals.roll(-1, dims=1) - traversals
    found = []
    for p in (1.0, 2.0):
        distances = torch.cdist(traversals, traversals, p, compute_mode="donot_use_mm_for_euclid_dist")
        lengths = torch.linalg.vector_norm(steps, p, dim=2).sort(dim=1).values[:, :-1].sum(1)
        found += [distances.amax((1, 2)), lengths]
    return torch.stack(found, dim=1)


def _mean_ratio(widths: Tensor, lengths: Tensor) -> float:
    return torch.where(lengths > 0, widths / lengths, 0.0).mean().item()


METRIC = Metric(
    name="flatness",
    version=1,
    values=(
        ValueSpec(
            "flatness",
            "traversals of a factor are straight lines along one code",
            invariant_to=INVARIANCES - {"scaling codes"},  # a length is a sum over codes
        ),
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
