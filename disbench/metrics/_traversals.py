"""Whole traversals: all values of one factor in order, the other factors held at a random point."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from disbench.types import Codes, Draw, FactorSpace, draw_seed

_MAX_NUMBERS = 2**23  # in the traversals laid out at once; bounds memory, not the result


def draw_traversals(space: FactorSpace, repeats: int, generator: Generator) -> Draw:
    """`repeats` traversals (repeats, size) of every factor that takes more than one value, one part per factor.

    The label `varying` holds the positions of these factors. If there are none, a single part stands for the first.
    """
    indices = {}
    for k in space.varying.tolist() or [0]:
        values = space.draw((repeats, 1), generator).repeat(1, space.sizes[k], 1)
        values[:, :, k] = torch.arange(space.sizes[k])
        indices[f"traversal {k}"] = space.index(values)
    return Draw(indices, {"varying": space.varying}, space.names, draw_seed(generator))


def mean_per_factor(codes: Codes, draw: Draw, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """float64 (k, m): the mean over the traversals of each varying factor of what `measure` finds in them.

    Args:
        codes: float (rows, d).
        draw: of `draw_traversals`.
        measure: codes float64 (r, size, d) of r traversals, less the first of each so that a code which stands still
            is exactly 0 -> m numbers for each, (r, m).
    """
    means = []
    for rows in draw.indices.values():
        size, n_codes = rows.shape[1], codes.shape[1]
        found = []
        for some in rows.split(max(1, _MAX_NUMBERS // (size * (size + n_codes)))):
            along = codes[some].double()
            found.append(measure(along - along[:, :1]))
        means.append(torch.cat(found).mean(0))
    return torch.stack(means)
