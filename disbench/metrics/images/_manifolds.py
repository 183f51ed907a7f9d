"""Balls around the images of a set, each reaching to its k-th nearest other, and which images of another lie inside.

Distances are squared. Each is first taken from a matrix product, tile by tile; where rounding could decide (equal
images, an image on the rim of a ball) it is taken again from the differences, which is exact to the last bits and the
same whichever tile it falls in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from disbench.features import Features, check_comparable

_TILE = 1024  # images on a side: 8 MB of distances, 17 MB of features in float64 at d = 2048
_BLOCK = 2**21  # distances or differences at once, elsewhere: 16 MB
_SPARE = 4  # neighbours kept beyond the k-th, in case rounding exchanged some
_ROUNDING = 8 * torch.finfo(torch.float64).eps  # of a distance from a product, per feature, relative to both norms


@dataclass(frozen=True)
class Membership:
    """Who lies in whose ball; inside means strictly nearer than the radius.

    Args:
        around_made: int64 (m,), for every made image the number of real balls that contain it.
        in_real: int64 (n,), for every real image the number of made ones that its ball contains.
        around_real: int64 (n,), for every real image the number of made balls that contain it.
    """

    around_made: Tensor
    in_real: Tensor
    around_real: Tensor


@dataclass(frozen=True)
class _Tile:
    """Squared distances of the rows `left` (p, d) to the rows `right` (q, d)."""

    left: Tensor
    right: Tensor
    squared: Tensor  # float64 (p, q)
    rounding: Tensor  # float64 (p, q): how far they may be off

    def settle(self, near: Tensor) -> None:
        """Take again, from differences, those distances that rounding could carry across `near` (broadcast)."""
        close = ((self.squared - near).abs_() <= self.rounding).nonzero()
        i, j = close.unbind(1)
        self.squared[i, j] = _from_differences(self.left, self.right, i, j)


def rows_of(real: Features, made: Features, neighbours: int) -> tuple[Tensor, Tensor, str]:
    """Every image's features in both sets, and why there are no such balls around them; empty if there are.

    Raises:
        DisbenchError: they are features of different networks.
    """
    check_comparable(real.statistics, made.statistics)
    assert real.rows is not None  # kept for a metric that reads them
    assert made.rows is not None
    fewest = min(len(real.rows), len(made.rows))
    reason = f"there are {fewest} images; a {neighbours}-th nearest other one takes more"
    return real.rows, made.rows, reason if fewest <= neighbours else ""


def squared_radii(rows: Tensor, neighbours: int) -> Tensor:
    """float64 (n,): squared distance of every row (n, d) to its `neighbours`-th nearest other one; n > neighbours."""
    n, centre = len(rows), _centre(rows)
    kept = min(neighbours + _SPARE, n - 1)
    distances = torch.full((n, kept), torch.inf, dtype=torch.float64, device=rows.device)
    nearest = torch.zeros((n, kept), dtype=torch.int64, device=rows.device)
    for i, own in enumerate(_parts(n)):
        for other in list(_parts(n))[i:]:
            squared = _tile(rows[own], rows[other], centre).squared
            if other == own:
                squared.fill_diagonal_(torch.inf)
            else:
                _keep_nearest(distances[other], nearest[other], squared.T, own.start)
            _keep_nearest(distances[own], nearest[own], squared, other.start)
    own_rows = torch.arange(n, device=rows.device).repeat_interleave(kept)
    exact = _from_differences(rows, rows, own_rows, nearest.flatten()).view(n, kept)
    radii = exact.kthvalue(neighbours, dim=1).values
    if kept < n - 1:
        largest = max(float((rows[part].double() - centre).square_().sum(1).max()) for part in _parts(n))
        rounding = 2 * largest * _ROUNDING * rows.shape[1]
        doubtful = (distances[:, -1] - distances[:, neighbours - 1] <= 2 * rounding).nonzero()[:, 0]
        for at in doubtful.split(max(1, _BLOCK // n)):
            radii[at] = _radii_among_all(rows, at, neighbours, centre)
    return radii


def memberships(real: Tensor, made: Tensor, real_radii: Tensor, made_radii: Tensor | None = None) -> Membership:
    """Who lies in whose ball, of real rows (n, d) and made ones (m, d); without `made_radii`, `around_real` is 0."""
    around_made = torch.zeros(len(made), dtype=torch.int64, device=real.device)
    in_real, around_real = (torch.zeros(len(real), dtype=torch.int64, device=real.device) for _ in range(2))
    centre = _centre(real)
    for mine in _parts(len(made)):
        for theirs in _parts(len(real)):
            tile = _tile(made[mine], real[theirs], centre)
            tile.settle(real_radii[theirs])
            inside = tile.squared < real_radii[theirs]
            around_made[mine] += inside.sum(1)
            in_real[theirs] += inside.sum(0)
            if made_radii is not None:
                radii = made_radii[mine, None]
                tile.settle(radii)
                around_real[theirs] += (tile.squared < radii).sum(0)
    return Membership(around_made, in_real, around_real)


def _radii_among_all(rows: Tensor, at: Tensor, neighbours: int, centre: Tensor) -> Tensor:
    """`squared_radii` of the rows at (m,), every pair that rounding could carry across the radius taken again."""
    tiles = [_tile(rows[at], rows[part], centre) for part in _parts(len(rows))]
    squared, rounding = (torch.cat([getattr(tile, name) for tile in tiles], dim=1) for name in ("squared", "rounding"))
    squared[torch.arange(len(at), device=rows.device), at] = torch.inf
    whole = _Tile(rows[at], rows, squared, rounding)
    whole.settle(squared.kthvalue(neighbours, dim=1, keepdim=True).values)
    return squared.kthvalue(neighbours, dim=1).values


def _keep_nearest(distances: Tensor, nearest: Tensor, squared: Tensor, start: int) -> None:
    """Of kept distances (p, k), ascending, and new ones (p, q), to the rows from `start` on, keep the nearest."""
    found, at = squared.topk(min(distances.shape[1], squared.shape[1]), dim=1, largest=False)
    both, rows = torch.cat([distances, found], dim=1), torch.cat([nearest, at + start], dim=1)
    best, chosen = both.topk(distances.shape[1], dim=1, largest=False)
    distances.copy_(best)
    nearest.copy_(rows.gather(1, chosen))


def _tile(left: Tensor, right: Tensor, centre: Tensor) -> _Tile:
    a, b = left.double() - centre, right.double() - centre
    norms = a.square().sum(1, keepdim=True) + b.square().sum(1)
    squared = torch.addmm(norms, a, b.T, alpha=-2).clamp_(min=0)
    return _Tile(left, right, squared, norms.mul_(_ROUNDING * left.shape[1]))


def _from_differences(left: Tensor, right: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """float64 (p,): squared distances of left[i] to right[j], i and j (p,)."""
    at_once = max(1, _BLOCK // left.shape[1])
    pairs = zip(i.split(at_once), j.split(at_once), strict=True)
    return torch.cat([(left[a].double() - right[b].double()).square_().sum(1) for a, b in pairs])


def _centre(rows: Tensor) -> Tensor:
    """A point in the midst, float64 (d,): without it, products of features far from 0 would round more."""
    return rows[:_TILE].double().mean(0)


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _TILE, n)) for start in range(0, n, _TILE))
