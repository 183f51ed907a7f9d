"""Gradient-boosted trees: scikit-learn's GradientBoostingClassifier (depth 3), all factors and classes side by side.

Each stage grows one regression tree per class (one per factor of two classes) on the residuals 1[class] - p. A split
maximises A^2 / (n_left n_right) with A = S_left n_right - S_right n_left, S the sums of residuals, over every code and
every pair of neighbouring values; equal gains of different codes go to the first in a random order drawn anew for each
node. A leaf adds RATE (K-1)/K sum(r) / sum(|r| (1-|r|)) to the log-odds (two classes: without (K-1)/K). A code's
importance for a factor is the sum of A^2 / (n_node n_left n_right) over the splits of its trees.

Residuals are rounded to whole numbers of 2**-24, so that their sums are exact: equal partitions have equal gains, on
whatever code, thread or device. There are two back ends, and they grow the same trees: loops compiled for
the CPU (`_boosting_compiled.py`), and tensor operations for other devices (here): running sums over all samples, codes
and trees of a stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from disbench.metrics._memory import require_memory

DEPTH = 3
LEAVES = 2**DEPTH
RATE = 0.1
UNIT = 2.0**24  # residuals are whole numbers of 1/UNIT
NEVER = 2**31 - 1  # a cut that every rank lies below
_MAX_CELLS = 2**23  # samples times codes times trees that tensors hold at once; bounds memory, not the result
SMALLEST_WEIGHT = 1e-150  # of a leaf; one with less adds nothing
LARGEST_STEP = 600.0  # of the log-odds; exp() of it is finite


@dataclass(frozen=True)
class Boosted:
    """What the classifiers of k factors found.

    Args:
        importances: float64 (d, k), each column with sum 1, or 0 where no tree has a split.
        train_accuracy: float64 (k,).
        test_accuracy: float64 (k,), or None without test samples.
    """

    importances: np.ndarray
    train_accuracy: np.ndarray
    test_accuracy: np.ndarray | None


@dataclass(frozen=True)
class Problem:
    """Samples in the order of every code, and which tree of a stage stands for which class of which factor.

    Args:
        codes: float64 (n, d).
        test_codes: float64 (m, d).
        order: int32 (d, n), samples in ascending order of each code.
        boundary: bool (d, n), whether the next sample in that order has a larger value.
        rank: int32 (n, d), number of smaller values.
        labels: int32 (k, n), classes 0 ... size-1 among those that training samples have.
        sizes: number of those classes, per factor.
        trees: int64 (t, 3), factor, class and whether it is the only tree of a factor of two classes.
        start: float64 (t,), share of the class.
        shrink: float64 (t,), (K-1)/K, or 1 for two classes.
    """

    codes: np.ndarray
    test_codes: np.ndarray
    order: np.ndarray
    boundary: np.ndarray
    rank: np.ndarray
    labels: np.ndarray
    sizes: tuple[int, ...]
    trees: np.ndarray
    start: np.ndarray
    shrink: np.ndarray


# What a back end returns: gains (t, d), class probabilities (n, t) and log-odds of the test samples (m, t).
Grown: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


def boost(
    codes: Tensor,
    factors: Tensor,
    test_codes: Tensor | None = None,
    test_factors: Tensor | None = None,
    *,
    seed: int,
    stages: int,
) -> Boosted:
    """Fit a classifier per factor on all codes.

    The compiled back end runs where the codes are on the CPU, on as many threads as torch may use; their number does
    not change the result.

    Args:
        codes: float (n, d).
        factors: int64 (n, k).
        test_codes: (m, d).
        test_factors: int64 (m, k). A class that no training sample has is never predicted.
        seed: decides between equal gains of different codes.
        stages: boosting stages.

    Raises:
        DisbenchError: there are so many codes that memory would not suffice.
    """
    test = codes[:0] if test_codes is None else test_codes
    problem, classes = prepare(codes.cpu().numpy(), factors.cpu().numpy(), test.cpu().numpy())
    if codes.device.type == "cpu":
        from disbench.metrics._boosting_compiled import grow_compiled  # brings in the compiler

        gains, probabilities, log_odds = grow_compiled(problem, seed, stages)
    else:
        gains, probabilities, log_odds = grow_tensors(problem, seed, stages, codes.device)
    importances = np.stack([gains[trees].sum(0) for trees in _trees_of_factors(problem)], axis=1)
    total = importances.sum(0)
    importances = np.divide(importances, total, out=np.zeros_like(importances), where=total > 0)
    train = _accuracy(problem, classes, probabilities, factors.cpu().numpy(), limit=0.5)
    if test_factors is None:
        return Boosted(importances, train, None)
    return Boosted(importances, train, _accuracy(problem, classes, log_odds, test_factors.cpu().numpy(), limit=0.0))


def prepare(codes: np.ndarray, factors: np.ndarray, test_codes: np.ndarray) -> tuple[Problem, list[np.ndarray]]:
    """The problem, and the labels that stand behind each factor's classes 0 ... size-1."""
    n, n_codes = codes.shape
    require_memory(40 * n * n_codes, torch.device("cpu"), f"sorting {n:,} samples by each of {n_codes:,} codes")
    order = np.argsort(codes, axis=0, kind="stable").T.astype(np.int32)
    ascending = np.take_along_axis(codes.T, order, axis=1)
    boundary = np.zeros((n_codes, n), dtype=bool)
    boundary[:, :-1] = ascending[:, 1:] > ascending[:, :-1]
    rank = np.zeros((n, n_codes), dtype=np.int32)
    np.put_along_axis(rank.T, order[:, 1:], np.cumsum(boundary[:, :-1], axis=1, dtype=np.int32), axis=1)
    found = [np.unique(column, return_inverse=True) for column in factors.T]
    classes, labels = [values for values, _ in found], np.stack([inverse for _, inverse in found]).astype(np.int32)
    sizes = tuple(len(values) for values in classes)
    trees = [
        (k, value, size == 2)
        for k, size in enumerate(sizes)
        for value in ((1,) if size == 2 else range(size) if size > 2 else ())
    ]
    start = np.array([np.mean(labels[k] == value) for k, value, _ in trees])
    shrink = np.array([1.0 if binary else 1 - 1 / sizes[k] for k, _, binary in trees])
    table = np.array(trees, dtype=np.int64).reshape(-1, 3)
    values, test = (np.ascontiguousarray(part, dtype=np.float64) for part in (codes, test_codes))
    return Problem(
        values, test, np.ascontiguousarray(order), boundary, rank, labels, sizes, table, start, shrink
    ), classes


def _trees_of_factors(problem: Problem) -> Iterator[slice]:
    """The columns of each factor's trees."""
    at = 0
    for size in problem.sizes:
        n_trees = 1 if size == 2 else size if size > 2 else 0
        yield slice(at, at + n_trees)
        at += n_trees


def _accuracy(
    problem: Problem, classes: list[np.ndarray], scores: np.ndarray, factors: np.ndarray, limit: float
) -> np.ndarray:
    """Share of samples per factor that are predicted right: the class with the largest score is.

    Of two classes there is one score, and the second is predicted where it reaches the limit.
    """
    accuracy = []
    for k, trees in enumerate(_trees_of_factors(problem)):
        if problem.sizes[k] == 2:
            predicted = (scores[:, trees.start] >= limit).astype(np.int64)
        elif problem.sizes[k] > 2:
            predicted = scores[:, trees].argmax(1)
        else:
            predicted = np.zeros(len(scores), dtype=np.int64)
        accuracy.append(np.mean(classes[k][predicted] == factors[:, k]))
    return np.array(accuracy)


def log_odds_at_start(problem: Problem) -> np.ndarray:
    """float64 (t,): where boosting starts."""
    binary = problem.trees[:, 2] == 1
    return np.log(problem.start) - np.where(binary, np.log1p(-np.where(binary, problem.start, 0)), 0)


def first_of_equals(seed: int, stage: int, problem: Problem) -> np.ndarray:
    """float64 (t, LEAVES, d): for every tree and node, the smaller number goes first among equal gains."""
    return np.random.default_rng((seed, stage)).random((len(problem.trees), LEAVES, problem.codes.shape[1]))


def grow_tensors(problem: Problem, seed: int, stages: int, device: torch.device) -> Grown:
    """The same trees with tensor operations, as many of a stage at once as memory should hold."""

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    codes, test_codes, rank = there(problem.codes), there(problem.test_codes), there(problem.rank).long()
    order, boundary = there(problem.order).long(), there(problem.boundary)
    factor, value, binary = there(problem.trees).unbind(1)
    own = there(problem.labels).long().T[:, factor] == value
    (n, n_codes), n_trees = codes.shape, len(factor)
    probabilities = there(problem.start).expand(n, n_trees)
    log_odds = there(log_odds_at_start(problem)).repeat(len(test_codes), 1)
    gains = torch.zeros(n_trees, n_codes, dtype=torch.float64, device=device)
    trees = torch.arange(n_trees, device=device)
    at_once = trees.split(max(1, _MAX_CELLS // (n * n_codes)))
    require_memory(120 * n * n_codes * len(at_once[0]), device, f"boosting trees on {n_codes:,} codes of {n:,} samples")
    for stage in range(stages):
        order_of_codes = there(first_of_equals(seed, stage, problem))
        residuals = ((own.double() - probabilities) * UNIT).round()
        node = torch.zeros(n, n_trees, dtype=torch.int64, device=device)
        test_node = torch.zeros(len(test_codes), n_trees, dtype=torch.int64, device=device)
        for level in range(DEPTH):
            nodes = []
            for m in range(2**level):
                found = [
                    _best_split(
                        residuals[:, some][order],  # (d, n, t)
                        node[:, some][order] == m,
                        boundary,
                        order_of_codes[some, 2**level + m],
                    )
                    for some in at_once
                ]
                gain, code, at = (torch.cat(parts) for parts in zip(*found, strict=True))
                is_split = gain > 0
                gains[trees, code] += torch.where(is_split, gain, 0)
                cut = torch.where(is_split, rank[order[code, at], code], NEVER)
                nodes.append((code, cut, node == m))
            code, cut = (torch.stack([entry[part] for entry in nodes]) for part in (0, 1))
            its_code = code.gather(0, node)
            right = rank.gather(1, its_code) > cut.gather(0, node)
            values = codes.gather(1, its_code)
            low = [values.masked_fill(~is_in | right, -torch.inf).amax(0) for _, _, is_in in nodes]
            high = [values.masked_fill(~is_in | ~right, torch.inf).amin(0) for _, _, is_in in nodes]
            threshold = torch.stack(low) / 2 + torch.stack(high) / 2
            threshold.nan_to_num_(nan=torch.inf)  # a node without samples
            test_right = test_codes.gather(1, code.gather(0, test_node)) > threshold.gather(0, test_node)
            node, test_node = 2 * node + right, 2 * test_node + test_right
        step = torch.zeros(LEAVES, n_trees, dtype=torch.float64, device=device)
        for leaf in range(LEAVES):
            is_in = node == leaf
            residual = ((own.double() - probabilities) * is_in).sum(0)
            weight = (probabilities * (1 - probabilities) * is_in).sum(0)
            exact = RATE * there(problem.shrink) * residual / weight.clamp_min(SMALLEST_WEIGHT)
            step[leaf] = torch.where(weight > SMALLEST_WEIGHT, exact, 0).clamp(-LARGEST_STEP, LARGEST_STEP)
        grown = probabilities * step.exp().gather(0, node)
        shares = grown + torch.where(binary == 1, 1 - probabilities, 0)
        norms = torch.stack([shares[:, its_trees].sum(1) for its_trees in _trees_of_factors(problem)], dim=1)
        probabilities = grown / norms[:, factor]
        log_odds += step.gather(0, test_node)
    return gains.cpu().numpy(), probabilities.cpu().numpy(), log_odds.cpu().numpy()


def _best_split(
    residuals: Tensor, is_in: Tensor, boundary: Tensor, order_of_codes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of samples (d, n, t) in the order of each code, the best split of each tree's node.

    Returns:
        Its gain over the size of the node, its code and its place in the order of that code, (t,) each.
    """
    left_sum, left_count = (residuals * is_in).cumsum(1), is_in.cumsum(1, dtype=torch.float64)
    all_sum, all_count = left_sum[:1, -1:], left_count[:1, -1:]
    right_count = all_count - left_count
    a = left_sum * right_count - (all_sum - left_sum) * left_count
    pairs = left_count * right_count
    gain = torch.where(boundary[:, :, None] & (pairs > 0), a * a / pairs.clamp_min(1), 0)
    best_place = gain.argmax(1)  # (d, t), the first of equal ones
    best = gain.gather(1, best_place[:, None])[:, 0]
    is_best = best == best.amax(0)
    code = order_of_codes.T.masked_fill(~is_best, torch.inf).argmin(0)
    chosen = code[None]
    return best.gather(0, chosen)[0] / all_count[0, 0].clamp_min(1), code, best_place.gather(0, chosen)[0]
