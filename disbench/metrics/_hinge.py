"""Squared-hinge classifiers on single codes, for every code and class at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from disbench.metrics._ranking import ascending
from disbench.types import Codes, Factors

_FLAT = 1e-100  # a code that deviates less is treated as constant
_MAX_VALUES = 2**22  # code values handled at once; bounds memory, not the result

_Objective = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def one_code_accuracy(
    codes: Codes, factors: Factors, test_codes: Codes, test_factors: Factors, *, penalty: float
) -> Tensor:
    """Test accuracy float64 (d, k) of telling every factor from every single code by one-against-rest classifiers.

    For code x and class c minimise (w^2 + b^2) / 2 + sum_i cost_i max(0, 1 - y_i (w x_i + b))^2, where y is 1 in the
    class, else -1. In the class the cost is balance / penalty, balance = n / (number of classes * count of the class);
    outside it is 1 / penalty, but of two classes each has its own balance. The highest w x + b tells the class. This
    is scikit-learn's `LinearSVC(C=1 / penalty, class_weight="balanced")` at its optimum.

    Args:
        codes: float (n, d); the penalty makes the result depend on their scale.
        factors: int64 (n, k), from 0.
        test_codes: float (m, d).
        test_factors: int64 (m, k); a class that training did not have is never told.
        penalty: of the weights.
    """
    columns = [_numbered(*pair) for pair in zip(factors.T, test_factors.T, strict=True)]
    sizes = [size for _, _, size in columns]
    labels = torch.stack([numbers for numbers, _, _ in columns], dim=1)
    at_once = max(1, _MAX_VALUES // (factors.numel() + max(sizes) ** 2))
    result = []
    for some, test in zip(codes.split(at_once, dim=1), test_codes.split(at_once, dim=1), strict=True):
        some, test = some.double(), test.double()
        deviation = some.std(0, correction=0)
        flat = deviation <= _FLAT
        mean = torch.where(flat, 0, some.mean(0))
        scale = torch.where(flat, some.abs().amax(0).clamp_min(1), deviation)
        inputs, test_inputs = (((part - mean) / scale).T.contiguous() for part in (some, test))
        objective = _objective(inputs, labels, sizes, mean / scale, scale, penalty)
        lines = _minimise(objective, inputs.new_zeros(len(inputs), sum(sizes), 2))
        accuracies = []
        for lines_of_factor, (_, truth, _) in zip(lines.split(sizes, dim=1), columns, strict=True):
            lower, upper = _sections(lines_of_factor)
            correct = (lower[:, truth] <= test_inputs) & (test_inputs <= upper[:, truth])
            accuracies.append(correct.double().mean(1))
        result.append(torch.stack(accuracies, dim=1))
    return torch.cat(result)


def _numbered(column: Tensor, test_column: Tensor) -> tuple[Tensor, Tensor, int]:
    """Classes of both numbered by those of the first, a new one in the second by their number, and that number."""
    values, numbers = torch.unique(column, return_inverse=True)
    test_numbers = torch.searchsorted(values, test_column.contiguous())
    return numbers, test_numbers.masked_fill(~torch.isin(test_column, values), len(values)), len(values)


def _sections(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of the lines (d, c, 2) is the highest: ends (d, c + 1), the last (for unknown classes) of nothing."""
    slope, height = lines.unbind(-1)
    steeper = slope[:, :, None] - slope[:, None, :]
    crossing = (height[:, None, :] - height[:, :, None]) / torch.where(steeper == 0, 1, steeper)
    lower = torch.where(steeper > 0, crossing, -torch.inf).amax(2)
    upper = torch.where(steeper < 0, crossing, torch.inf).amin(2)
    # Of parallel lines the higher counts, of equal ones the first.
    earlier = torch.ones_like(steeper[0], dtype=torch.bool).tril(-1)
    hidden = ((steeper == 0) & ((crossing > 0) | ((crossing == 0) & earlier))).any(2)
    lower = torch.where(hidden, torch.inf, lower)
    empty = torch.full_like(lower[:, :1], torch.inf)
    return torch.cat([lower, empty], dim=1), torch.cat([upper, empty], dim=1)


def _objective(
    inputs: Tensor, labels: Tensor, sizes: list[int], shift: Tensor, scale: Tensor, penalty: float
) -> _Objective:
    """The function of lines (d, c, 2), slope and height over inputs (d, n): value, gradient and Hessian.

    Samples within the margin are those on one side of a threshold, so that sums over them are differences of prefix
    sums over sorted values: looked up, not added.
    """
    n_codes, n = inputs.shape
    size = torch.tensor(sizes, device=inputs.device)
    labels = labels + size.cumsum(0) - size  # one number for each class of any factor
    counts = torch.bincount(labels.flatten())
    ends, numbers = counts.cumsum(0), torch.arange(len(counts), device=inputs.device)
    size = size.repeat_interleave(size)
    inside = n / (size * counts) / penalty
    outside = torch.where(size == 2, n / (2 * (n - counts).clamp_min(1)), 1) / penalty
    # One sorted list per code, of class numbers and ranks: a class is a section of it, in the order of its values.
    ordered = ascending(inputs)
    ranks = torch.searchsorted(ordered, inputs)
    keys = ascending((labels.T * n + ranks[:, None]).flatten(1))
    of_all = _prefix_sums(ordered)
    of_classes = _prefix_sums(ordered.gather(1, keys - numbers.repeat_interleave(counts) * n))
    before = _sums_at(of_classes, (ends - counts).expand(n_codes, -1))
    total = _sums_at(of_classes, ends.expand(n_codes, -1)) - before
    rest = _sums_at(of_all, torch.full_like(numbers, n).expand(n_codes, -1)) - total
    # w^2 + b^2 in slope and height: w = slope / scale, b = height - slope * shift.
    ridge = torch.stack([scale**-2 + shift**2, -shift, -shift, torch.ones_like(shift)], -1).view(n_codes, 1, 2, 2)

    def below(threshold: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over smaller inputs, of the class and of the rest."""
        position = torch.searchsorted(ordered, threshold)
        of_class = _sums_at(of_classes, torch.searchsorted(keys, position + numbers * n)) - before
        return of_class, _sums_at(of_all, position) - of_class

    def evaluate(lines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slope, height = lines.unbind(-1)
        rising, divisor = (slope >= 0)[..., None], torch.where(slope == 0, 1e-300, slope)
        in_class, _ = below((1 - height) / divisor)
        _, in_rest = below((-1 - height) / divisor)
        in_class = inside[:, None] * torch.where(rising, in_class, total - in_class)
        in_rest = outside[:, None] * torch.where(rising, rest - in_rest, in_rest)
        both, difference = in_class + in_rest, in_class - in_rest
        hessian = 2 * both[..., [2, 1, 1, 0]].unflatten(-1, (2, 2)) + ridge
        linear = 2 * difference[..., [1, 0]]
        bent = (hessian @ lines[..., None])[..., 0]
        return both[..., 0] + (lines * (bent / 2 - linear)).sum(-1), bent - linear, hessian

    return evaluate


def _minimise(objective: _Objective, lines: Tensor) -> Tensor:
    """Newton's method with halved steps; the objectives are piecewise quadratic, so that it ends."""
    value, gradient, hessian = objective(lines)
    for _ in range(100):
        (a, b), c = hessian[..., 0, :].unbind(-1), hessian[..., 1, 1]
        first, second = gradient.unbind(-1)
        step = torch.stack([b * second - c * first, b * first - a * second], -1) / (a * c - b * b)[..., None]
        slope = -(gradient * step).sum(-1)
        length = torch.where(slope > 1e-14 * value, 1.0, 0.0)
        if not length.any():
            break
        for _ in range(40):
            moved = lines + length[..., None] * step
            at_moved = objective(moved)
            too_far = (length > 0) & ~(at_moved[0] <= value - 1e-4 * length * slope)
            if not too_far.any():
                break
            length = torch.where(too_far, length / 2, length)
        better = at_moved[0] < value
        if not better.any():
            break
        lines, gradient = (
            torch.where(better[..., None], new, old) for new, old in ((moved, lines), (at_moved[1], gradient))
        )
        value = torch.where(better, at_moved[0], value)
        hessian = torch.where(better[..., None, None], at_moved[2], hessian)
    return lines


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums, and sums of squares, of the first 0 ... n values: (2, d, n + 1)."""
    sums = torch.zeros(2, len(values), values.shape[1] + 1, dtype=values.dtype, device=values.device)
    torch.cumsum(values, 1, out=sums[0, :, 1:])
    torch.cumsum(values * values, 1, out=sums[1, :, 1:])
    return sums


def _sums_at(sums: Tensor, position: Tensor) -> Tensor:
    """Count, sum and sum of squares (d, c, 3) of the first so many values, int64 (d, c)."""
    return torch.stack([position.to(sums.dtype), sums[0].gather(1, position), sums[1].gather(1, position)], -1)
