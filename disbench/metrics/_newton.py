"""Newton's method for multinomial logistic regressions, several fits at once, on any device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_GAP = 1e-5  # a fit ends with the step that promises less than this per unit of weight, and leaves far less
_ROUNDING = 1e-12  # promises up to this are not worth a step
_SEPARATED = 1e-5  # mean loss at which separable classes, which have no optimum without a penalty, are left alone
_SHRINKAGE = 0.1  # of the covariance that a fit starts from; the inputs have variance 1
_COUPLED = 2_100  # parameters up to which a preconditioner couples the classes
_DRAWN = 1_000  # rows that such a one is made of
_JITTER = 1e-8  # keeps a preconditioner positive where codes are duplicated or classes are certain
_STALE = 8  # products with the Hessian in one step after which it is made anew

_Preconditioner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fits:
    """Fits of one factor that differ in the weights of samples; their points (r, size, p) come on top of the priors."""

    inputs: Tensor  # (n, p), the last of them 1
    columns: Tensor  # (p, n), the same
    weights: Tensor  # (r, n), of the samples
    ridge: Tensor  # (p,), penalty of each input
    target: Tensor  # (r, size, p), weighted sums of the inputs of each class
    prior: Tensor  # (r, size), log frequency of each class, -inf where it has no weight: its probability stays 0
    total: Tensor  # (r,), sum of the weights

    def with_priors(self, points: Tensor) -> Tensor:
        """Weights of regressions, whose intercepts hold the priors."""
        return torch.cat([points[:, :, :-1], points[:, :, -1:] + self.prior[:, :, None]], dim=2)

    def discriminants(self) -> Tensor:
        """Linear discriminants as points to start from: the optima, if classes were Gaussian of one covariance."""
        counts = self.target[:, :, -1:]
        means = (self.target / torch.where(counts > 0, counts, 1))[:, :, :-1]
        within = (self.columns[:-1] * self.weights[:, None]) @ self.inputs[:, :-1] - (means * counts).mT @ means
        shrunk = (within + self.ridge[:-1].diag()) / self.total[:, None, None]
        shrunk.diagonal(dim1=1, dim2=2).add_(_SHRINKAGE)
        slopes = torch.linalg.solve(shrunk, means.mT).mT
        points = torch.cat([slopes, -(slopes * means).sum(2, keepdim=True) / 2], dim=2)
        value = self.loss(points)[0]
        while ((halved := self.loss(points / 2)[0]) < value).any():
            points, value = points / 2, halved
        return points

    def loss(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The losses (r,), and the probabilities (r, size, n)."""
        scores = (points @ self.columns).add_(self.prior[:, :, None])
        largest = scores.amax(1, keepdim=True)
        powers = scores.sub_(largest).exp_()
        norm = powers.sum(1, keepdim=True)
        data = (self.weights * (largest + norm.log())[:, 0]).sum(1) - _dot(points, self.target)
        of_priors = self.total * torch.special.entr(self.target[:, :, -1] / self.total[:, None]).sum(1)
        return data + of_priors + _dot(points * self.ridge, points) / 2, powers.div_(norm)

    def minimise(
        self, points: Tensor, max_iterations: int, precondition: _Preconditioner | None = None
    ) -> tuple[Tensor, _Preconditioner | None]:
        """Newton's method with conjugate gradients: the points, and the last preconditioner."""
        value, probabilities = self.loss(points)
        busy, n_inner = torch.ones_like(value, dtype=torch.bool), 0
        for _ in range(max_iterations):
            busy &= value > _SEPARATED * self.total
            if not busy.any():
                break
            if precondition is None or n_inner > _STALE:
                precondition = self.preconditioner(probabilities)
            gradient = (probabilities * self.weights[:, None]) @ self.inputs - self.target + self.ridge * points
            step, n_inner = self.newton_step(probabilities, gradient * busy[:, None, None], precondition)
            promise = -_dot(gradient, step)
            length = torch.ones_like(value)
            moved = points + step
            found, at_moved = self.loss(moved)
            while (far := ~(found <= value - 1e-4 * length * promise) & (length > 1e-6)).any():
                length = torch.where(far, length / 2, length)
                moved = points + length[:, None, None] * step
                found, at_moved = self.loss(moved)
            # What falls faster than a parabola, as without an optimum, goes on.
            while (fast := (length >= 1) & (value - found > 0.55 * length * promise)).any():
                longer = torch.where(fast, 2 * length, length)
                further = points + longer[:, None, None] * step
                at_further, new_probabilities = self.loss(further)
                if (at_further > found).any():
                    break
                length, moved, found, at_moved = longer, further, at_further, new_probabilities
            better = found < value
            points, value = torch.where(better[:, None, None], moved, points), torch.where(better, found, value)
            probabilities = at_moved
            busy &= better & (promise > _GAP * self.total)
        return points, precondition

    def newton_step(self, probabilities: Tensor, gradient: Tensor, precondition: _Preconditioner) -> tuple[Tensor, int]:
        """An approximate solution of Hessian * step = -gradient, and how many products with the Hessian it took."""
        weighted = probabilities * self.weights[:, None]
        step, residual, n_products = torch.zeros_like(gradient), -gradient, 0
        direction = precondition(residual)
        size = _dot(residual, direction)
        enough = torch.maximum(0.01 * size, _ROUNDING * self.total)
        while n_products < 100 and (size > enough).any():
            n_products += 1
            mean_move = ((direction.mT @ probabilities) * self.columns).sum(1, keepdim=True)
            moved = (direction @ self.columns).sub_(mean_move).mul_(weighted)
            product = torch.addcmul(moved @ self.inputs, self.ridge, direction)
            bend = _dot(direction, product)
            length = torch.where(bend > 0, size / bend, 0)[:, None, None]
            step.addcmul_(length, direction)
            residual.addcmul_(length, product, value=-1)
            ahead = precondition(residual)
            before, size = size, _dot(residual, ahead)
            direction = torch.addcmul(ahead, torch.where(before > 0, size / before, 0)[:, None, None], direction)
        return step, n_products

    def preconditioner(self, probabilities: Tensor) -> _Preconditioner:
        """The inverses of something near the Hessians: as much of it as is cheap."""
        (n_fits, size, n), n_inputs = probabilities.shape, len(self.ridge)
        if size * n_inputs > _COUPLED:
            # As if classes and inputs bent the loss independently: the Kronecker product of their mean curvatures.
            spread = (1 - probabilities.square().sum(1)) * self.weights
            between = -(probabilities * self.weights[:, None]) @ probabilities.mT
            between.diagonal(dim1=1, dim2=2).sub_(between.sum(2))
            bends, classes = torch.linalg.eigh(between / spread.sum(1)[:, None, None])
            unit = (self.ridge + _JITTER * self.total[:, None]).rsqrt()[:, None]
            within = (self.columns * spread[:, None]) @ self.inputs
            powers, axes = torch.linalg.eigh(within * unit * unit.mT)
            divisor = bends.clamp_min(0)[:, :, None] * powers.clamp_min(0)[:, None] + 1
            turn = unit.mT * axes
            return lambda points: classes @ ((classes.mT @ points @ turn) / divisor) @ turn.mT
        least = (self.ridge + _JITTER * self.total[:, None]).diag_embed()
        # The Hessian itself, estimated from rows that are drawn evenly along their curvature.
        weights, inputs = self.weights, self.inputs.expand(n_fits, -1, -1)
        if n > _DRAWN:
            curvature = (1 - probabilities.square().sum(1)).clamp_min_(1e-9) * weights
            sums = curvature.cumsum(1)
            marks = (torch.arange(_DRAWN, dtype=sums.dtype, device=sums.device) + 0.5) / _DRAWN * sums[:, -1:]
            rows = torch.searchsorted(sums, marks).clamp_max_(n - 1)
            weights = weights.gather(1, rows) / curvature.gather(1, rows) * (sums[:, -1:] / _DRAWN)
            probabilities, inputs = probabilities.gather(2, rows[:, None].expand(-1, size, -1)), self.inputs[rows]
        crossed = (probabilities.mT[..., None] * inputs[:, :, None]).flatten(2)
        hessian = -(crossed * weights[..., None]).mT @ crossed
        own = ((probabilities * weights[:, None]) @ _products(inputs)).view(n_fits, size, n_inputs, n_inputs) + least[
            :, None
        ]
        blocks = hessian.view(n_fits, size, n_inputs, size, n_inputs).diagonal(dim1=1, dim2=3)
        blocks.add_(own.permute(0, 2, 3, 1))
        inverse = _inverse(hessian)
        return lambda points: (points.flatten(1)[:, None] @ inverse).view_as(points)


def fits_of(inputs: Tensor, column: Tensor, weights: Tensor, ridge: Tensor) -> Fits:
    """Fits of one factor.

    Args:
        inputs: float64 (n, p), the last of them 1.
        column: int64 (n,), classes from 0.
        weights: float64 (r, n), of the samples.
        ridge: float64 (p,), penalty of each input.
    """
    is_class = (column == torch.arange(int(column.max()) + 1, device=column.device)[:, None]).to(inputs.dtype)
    target = (is_class * weights[:, None]) @ inputs
    total = weights.sum(1)
    return Fits(inputs, inputs.T.contiguous(), weights, ridge, target, (target[:, :, -1] / total[:, None]).log(), total)


def _products(inputs: Tensor) -> Tensor:
    """All products (..., n, p * p) of two of the inputs (..., n, p)."""
    return (inputs[..., :, None] * inputs[..., None, :]).flatten(-2)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Products (r,) of (r, size, p)."""
    return (left * right).sum((1, 2))


def _inverse(matrices: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(matrices).L)
