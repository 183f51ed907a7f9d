"""The compiled back end of `_boosting`, for the CPU.

LANES trees of a stage are grown together, so that one pass over the samples in the order of a code serves all of them,
in vector instructions. The pass takes sums over blocks of BLOCK samples. They bound the gain of any split inside a
block; only blocks that may hold the best split are looked at sample by sample.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch

from disbench.metrics._boosting import (
    DEPTH,
    LARGEST_STEP,
    LEAVES,
    NEVER,
    RATE,
    SMALLEST_WEIGHT,
    UNIT,
    Grown,
    Problem,
    first_of_equals,
    log_odds_at_start,
)
from disbench.metrics._compile import compiled
from disbench.metrics._memory import require_memory

LANES = 16  # trees grown together
BLOCK = 64  # samples whose residuals are summed first; their sum fits 32 bits
ALMOST = 1 - 1e-12  # a gain this close may be a tie, and is compared exactly


@dataclass
class _Lanes:
    """LANES trees of a stage, and the samples as they see them.

    Args:
        segments: int64 (s, 5): factor, first lane, lane behind the last, class of the first lane, two classes or not.
        shrink: float64 (LANES,).
        probabilities: float64 (n, LANES), up to the factor's norm.
        residuals: int32 (n, LANES), in 1/UNIT.
        node: int8 (n, LANES), number of the sample's node within its level.
        norms: float64 (s, n), the part of the factor's norm that these lanes add.
        gains: float64 (LANES, d).
        log_odds: float64 (m, LANES), of test samples.
    """

    segments: np.ndarray
    shrink: np.ndarray
    probabilities: np.ndarray
    residuals: np.ndarray
    node: np.ndarray
    norms: np.ndarray
    gains: np.ndarray
    log_odds: np.ndarray


def grow_compiled(problem: Problem, seed: int, stages: int) -> Grown:
    """Gains, probabilities and log-odds after all stages, on as many threads as torch may use.

    Raises:
        DisbenchError: memory would not suffice.
    """
    (n, n_codes), n_test, n_trees = problem.codes.shape, len(problem.test_codes), len(problem.trees)
    firsts = range(0, n_trees, LANES)
    n_threads = max(1, min(torch.get_num_threads(), len(firsts)))
    blocks = (LEAVES, n_codes, -(-n // BLOCK), LANES)
    n_bytes = 3 * 4 * n_threads * int(np.prod(blocks)) + 8 * n_trees * (3 * n + n_test + LEAVES * n_codes)
    require_memory(n_bytes, torch.device("cpu"), f"boosting trees on {n_codes:,} codes of {n:,} samples")
    groups = [_lanes(problem, first) for first in firsts]
    workspaces: SimpleQueue[tuple[np.ndarray, np.ndarray, np.ndarray]] = SimpleQueue()
    for _ in range(n_threads):
        sums, positive, counts = (np.empty(blocks, dtype=np.int32) for _ in range(3))
        workspaces.put((sums, positive, counts))
    starts = range(0, n, BLOCK)
    candidate = np.stack([problem.boundary[:, at : at + BLOCK].any(1) for at in starts], axis=1)
    norms = np.ones((len(problem.sizes), n))

    def grow(group: _Lanes, order_of_codes: np.ndarray) -> None:
        workspace = workspaces.get()
        try:
            _stage(
                problem.order, problem.boundary, candidate, problem.rank, problem.codes, problem.labels,
                problem.test_codes, norms, group.segments, group.shrink, group.probabilities, group.residuals,
                group.node, group.norms, group.gains, group.log_odds, order_of_codes, *workspace,
            )  # fmt: skip
        finally:
            workspaces.put(workspace)

    with ThreadPoolExecutor(n_threads) as pool:
        for stage in range(stages):
            order_of_codes = np.zeros((len(groups) * LANES, LEAVES, n_codes))
            order_of_codes[:n_trees] = first_of_equals(seed, stage, problem)
            list(pool.map(grow, groups, order_of_codes.reshape(len(groups), LANES, LEAVES, n_codes)))
            norms = np.zeros_like(norms)
            for group in groups:
                np.add.at(norms, group.segments[:, 0], group.norms)

    gains, probabilities, log_odds = (np.zeros((n_trees, n_codes)), np.zeros((n, n_trees)), np.zeros((n_test, n_trees)))
    for first, group in zip(firsts, groups, strict=True):
        trees = slice(first, min(first + LANES, n_trees))
        used = trees.stop - first
        gains[trees] = group.gains[:used]
        probabilities[:, trees] = group.probabilities[:, :used] / norms[problem.trees[trees, 0]].T
        log_odds[:, trees] = group.log_odds[:, :used]
    return gains, probabilities, log_odds


def _lanes(problem: Problem, first: int) -> _Lanes:
    """The trees from position `first` on, before the first stage."""
    trees = problem.trees[first : first + LANES]
    n, n_codes = problem.codes.shape
    segments = []
    for k in np.unique(trees[:, 0]):
        lanes = np.flatnonzero(trees[:, 0] == k)
        segments.append((k, lanes[0], lanes[-1] + 1, *trees[lanes[0], 1:]))
    probabilities, shrink = np.zeros((n, LANES)), np.zeros(LANES)
    probabilities[:, : len(trees)] = problem.start[first : first + LANES]
    shrink[: len(trees)] = problem.shrink[first : first + LANES]
    log_odds = np.zeros((len(problem.test_codes), LANES))
    log_odds[:, : len(trees)] = log_odds_at_start(problem)[first : first + LANES]
    return _Lanes(
        segments=np.array(segments, dtype=np.int64),
        shrink=shrink,
        probabilities=probabilities,
        residuals=np.zeros((n, LANES), dtype=np.int32),
        node=np.zeros((n, LANES), dtype=np.int8),
        norms=np.zeros((len(segments), n)),
        gains=np.zeros((LANES, n_codes)),
        log_odds=log_odds,
    )


@compiled
def _set_residuals(labels, norms, segments, probabilities, residuals):  # type: ignore[no-untyped-def]
    for s in range(len(segments)):
        k, first, last, value, _ = segments[s]
        for i in range(len(probabilities)):
            scale = 1 / norms[k, i]
            for lane in range(first, last):
                p = probabilities[i, lane] * scale
                probabilities[i, lane] = p
                residuals[i, lane] = np.int32(np.rint(-p * UNIT))
            own = first + labels[k, i] - value
            if first <= own < last:
                residuals[i, own] = np.int32(np.rint((1 - probabilities[i, own]) * UNIT))


@compiled
def _set_sums(order, residuals, node, level, sums, positive, counts):  # type: ignore[no-untyped-def]
    """Sums over blocks, per node (numbered 1; 2, 3; 4 ... 7 through the levels), code and lane.

    Only left nodes are summed, of which the last level has two; a right one is what its parent has and its sibling not.
    """
    shape, zero, n = (2, LANES), np.int32(0), order.shape[1]
    total, above, count = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for d in range(len(order)):
        for b in range(sums.shape[2]):
            total[:], above[:], count[:] = 0, 0, 0
            for j in range(b * BLOCK, min(n, (b + 1) * BLOCK)):
                i = order[d, j]
                if level < DEPTH - 1:
                    for lane in range(LANES):
                        r = residuals[i, lane] if node[i, lane] == 0 else zero
                        total[0, lane] += r
                        above[0, lane] += max(r, zero)
                        count[0, lane] += np.int32(node[i, lane] == 0)
                else:
                    for lane in range(LANES):
                        first = residuals[i, lane] if node[i, lane] == 0 else zero
                        second = residuals[i, lane] if node[i, lane] == 2 else zero
                        total[0, lane] += first
                        above[0, lane] += max(first, zero)
                        count[0, lane] += np.int32(node[i, lane] == 0)
                        total[1, lane] += second
                        above[1, lane] += max(second, zero)
                        count[1, lane] += np.int32(node[i, lane] == 2)
            for pair in range(max(1, 2**level // 2)):
                h = 2**level + 2 * pair
                for lane in range(LANES):
                    sums[h, d, b, lane] = total[pair, lane]
                    positive[h, d, b, lane] = above[pair, lane]
                    counts[h, d, b, lane] = count[pair, lane]
                    if level > 0:
                        sums[h + 1, d, b, lane] = sums[h // 2, d, b, lane] - total[pair, lane]
                        positive[h + 1, d, b, lane] = positive[h // 2, d, b, lane] - above[pair, lane]
                        counts[h + 1, d, b, lane] = counts[h // 2, d, b, lane] - count[pair, lane]


@compiled
def _bound(all_sum, all_count, left_sum, left_count, total, above, count):  # type: ignore[no-untyped-def]
    """A^2 and n_left n_right of a gain that no split inside the block passes."""
    until = left_count + count
    a, b = all_sum * left_count, all_sum * until
    high = (left_sum + above) * all_count - min(a, b)
    low = max(a, b) - (left_sum + total - above) * all_count
    most = max(high, low)
    few, many = max(left_count, 1.0), min(until, all_count - 1)
    return most * most, min(few * (all_count - few), many * (all_count - many))


@compiled
def _find_splits(  # type: ignore[no-untyped-def]
    order, boundary, candidate, residuals, node, m, sums, positive, counts, order_of_codes, gain, code, at, size
):
    """For every lane the best split of node m of a level, whose blocks are given: gain, code, place; and its size."""
    n, n_codes, n_blocks = order.shape[1], len(order), sums.shape[1]
    all_sum, all_count, best = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    left_sum, left_count = np.zeros(LANES), np.zeros(LANES)
    for b in range(n_blocks):
        for lane in range(LANES):
            all_sum[lane] += sums[0, b, lane]
            all_count[lane] += counts[0, b, lane]
    for d in range(n_codes):  # splits between blocks
        left_sum[:], left_count[:] = 0, 0
        for b in range(n_blocks - 1):
            for lane in range(LANES):
                left_sum[lane] += sums[d, b, lane]
                left_count[lane] += counts[d, b, lane]
            if boundary[d, (b + 1) * BLOCK - 1]:
                found = np.int64(0)
                for lane in range(LANES):
                    right_count = all_count[lane] - left_count[lane]
                    a = left_sum[lane] * right_count - (all_sum[lane] - left_sum[lane]) * left_count[lane]
                    found |= np.int64(a * a > best[lane] * (left_count[lane] * right_count))
                for lane in range(LANES if found else 0):
                    right_count = all_count[lane] - left_count[lane]
                    a = left_sum[lane] * right_count - (all_sum[lane] - left_sum[lane]) * left_count[lane]
                    if a * a > best[lane] * (left_count[lane] * right_count):
                        best[lane] = a * a / (left_count[lane] * right_count)
    best *= ALMOST
    gain[:], code[:], size[:] = 0, -1, all_count
    for d in range(n_codes):  # splits inside the blocks that may hold a better one, or this one
        left_sum[:], left_count[:] = 0, 0
        for b in range(n_blocks):
            inside_run = b > 0 and not boundary[d, b * BLOCK - 1]  # the block before ends within a run of equal values
            found = np.int64(0)
            for lane in range(LANES if candidate[d, b] else 0):
                top, bottom = _bound(
                    all_sum[lane], all_count[lane], left_sum[lane], left_count[lane],
                    sums[d, b, lane], positive[d, b, lane], counts[d, b, lane],
                )  # fmt: skip
                found |= np.int64(top > best[lane] * bottom)
            for lane in range(LANES if found else 0):
                top, bottom = _bound(
                    all_sum[lane], all_count[lane], left_sum[lane], left_count[lane],
                    sums[d, b, lane], positive[d, b, lane], counts[d, b, lane],
                )  # fmt: skip
                if not (top > best[lane] * bottom and all_count[lane] > 1 and (counts[d, b, lane] or inside_run)):
                    continue
                s, c, is_new = left_sum[lane], left_count[lane], inside_run
                for j in range(b * BLOCK, min(n - 1, (b + 1) * BLOCK)):
                    i = order[d, j]
                    if node[i, lane] == m:
                        s += residuals[i, lane]
                        c += 1
                        is_new = True
                    if boundary[d, j] and is_new:
                        is_new = False
                        right_count = all_count[lane] - c
                        a = s * right_count - (all_sum[lane] - s) * c
                        if a * a > best[lane] * (c * right_count):
                            g, old = a * a / (c * right_count), code[lane]
                            if g > gain[lane] or (
                                g == gain[lane] and old != d and order_of_codes[lane, d] < order_of_codes[lane, old]
                            ):
                                gain[lane], code[lane], at[lane] = g, d, j
                                best[lane] = g * ALMOST
            for lane in range(LANES):
                left_sum[lane] += sums[d, b, lane]
                left_count[lane] += counts[d, b, lane]


@compiled
def _set_cuts(order, codes, rank, node, m, code, at, cut, threshold):  # type: ignore[no-untyped-def]
    """The largest rank that goes left, and the middle to the next value in the node; all go left without a split."""
    for lane in range(LANES):
        d, low, high = code[lane], at[lane], at[lane] + 1
        if d < 0:
            code[lane], cut[lane], threshold[lane] = 0, NEVER, np.inf
            continue
        cut[lane] = rank[order[d, low], d]
        while node[order[d, low], lane] != m:
            low -= 1
        while node[order[d, high], lane] != m:
            high += 1
        threshold[lane] = codes[order[d, low], d] / 2.0 + codes[order[d, high], d] / 2.0


@compiled
def _stage(  # type: ignore[no-untyped-def]
    order, boundary, candidate, rank, codes, labels, test_codes, norms, segments, shrink, probabilities, residuals,
    node, own_norms, gains, log_odds, order_of_codes, sums, positive, counts,
):  # fmt: skip
    """One tree in each lane: its gains, and what it does to the probabilities."""
    shape, n = (LEAVES // 2, LANES), len(codes)
    gain, size, threshold = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    code, at, cut = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    test_node = np.zeros(log_odds.shape, np.int8)
    _set_residuals(labels, norms, segments, probabilities, residuals)
    node[:] = 0
    for level in range(DEPTH):
        _set_sums(order, residuals, node, level, sums, positive, counts)
        for m in range(2**level):
            h = 2**level + m
            _find_splits(
                order, boundary, candidate, residuals, node, m, sums[h], positive[h], counts[h],
                order_of_codes[:, h], gain[m], code[m], at[m], size[m],
            )  # fmt: skip
            for lane in range(LANES):
                if code[m, lane] >= 0:
                    gains[lane, code[m, lane]] += gain[m, lane] / size[m, lane]
            _set_cuts(order, codes, rank, node, m, code[m], at[m], cut[m], threshold[m])
        for i in range(n):
            for lane in range(LANES):
                m = node[i, lane]
                node[i, lane] = 2 * m + (rank[i, code[m, lane]] > cut[m, lane])
        for i in range(len(test_codes)):
            for lane in range(LANES):
                m = test_node[i, lane]
                test_node[i, lane] = 2 * m + (test_codes[i, code[m, lane]] > threshold[m, lane])
    step = _leaf_steps(labels, segments, shrink, probabilities, node)
    factor = np.exp(step)
    for s in range(len(segments)):
        _, first, last, _, binary = segments[s]
        for i in range(n):
            norm = 1 - probabilities[i, first] if binary else 0.0
            for lane in range(first, last):
                probabilities[i, lane] *= factor[node[i, lane], lane]
                norm += probabilities[i, lane]
            own_norms[s, i] = norm
    for i in range(len(test_codes)):
        for lane in range(LANES):
            log_odds[i, lane] += step[test_node[i, lane], lane]


@compiled
def _leaf_steps(labels, segments, shrink, probabilities, node):  # type: ignore[no-untyped-def]
    """float64 (LEAVES, LANES): what each leaf adds to the log-odds."""
    residual, weight = np.zeros((LEAVES, LANES)), np.zeros((LEAVES, LANES))
    for s in range(len(segments)):
        k, first, last, value, _ = segments[s]
        for i in range(len(node)):
            own = first + labels[k, i] - value
            for lane in range(first, last):
                p, leaf = probabilities[i, lane], node[i, lane]
                residual[leaf, lane] += 1 - p if lane == own else -p
                weight[leaf, lane] += p * (1 - p)
    step = np.zeros((LEAVES, LANES))
    for leaf in range(LEAVES):
        for lane in range(LANES):
            if weight[leaf, lane] > SMALLEST_WEIGHT:
                exact = RATE * shrink[lane] * residual[leaf, lane] / weight[leaf, lane]
                step[leaf, lane] = min(max(exact, -LARGEST_STEP), LARGEST_STEP)
    return step
