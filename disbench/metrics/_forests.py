"""Random forests of growing depth, for DCI-ES: scikit-learn's RandomForestClassifier, tree for tree.

A tree grows every node from its own samples alone, so a tree of the greatest depth holds in its upper levels one of any
smaller depth, and one forest serves for all. Test samples walk down each tree while it grows, and take the class shares
of the node they are in at each depth. Squared class counts are kept up to date from one candidate split to the next, so
the number of classes costs nothing.

This module imports no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed

from disbench.metrics._compile import compiled

_CLOSE = np.float32(1e-7)  # values that differ by no more are not split
_IMPURITY = np.finfo(np.float64).eps  # a node of no more is pure
_SHORT = 40  # so few are sorted by insertion
_DIGIT = 8  # bits that one pass of sorting looks at
_RANK = 32  # where the rank begins in a key; the sample is below


def losses_by_depth(
    codes: np.ndarray,
    factors: np.ndarray,
    test_codes: np.ndarray,
    test_factors: np.ndarray,
    *,
    depths: tuple[int, ...],
    trees: int,
    seed: int,
    n_jobs: int,
) -> np.ndarray:
    """1 - accuracy on test samples of random forests, float64 (k, len(depths)).

    The forest of the greatest depth is `RandomForestClassifier(n_estimators=trees, max_depth=max(depths),
    random_state=seed)` of scikit-learn 1.9 on float32 codes; those of other depths are it, cut there.

    Args:
        codes: (n, d).
        factors: whole numbers (n, k); every factor has forests of its own, and all start from the seed.
        test_codes: (m, d).
        test_factors: (m, k).
        depths: ascending, from 1.
        trees: in a forest.
        seed: 0 ... 2**32-1.
        n_jobs: threads; one factor each, so the result does not depend on their number.
    """
    columns = np.ascontiguousarray(_scaled(codes, codes).T)
    tests = np.ascontiguousarray(_scaled(test_codes, codes).T)
    ranks = _ranks(columns)
    many_first = sorted(range(factors.shape[1]), key=lambda k: -len(np.unique(factors[:, k])))
    found = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_losses)(columns, ranks, factors[:, k], tests, test_factors[:, k], depths, trees, seed)
        for k in many_first
    )
    return np.stack([found[many_first.index(k)] for k in range(factors.shape[1])])


def _losses(
    codes: np.ndarray,
    ranks: np.ndarray,
    classes: np.ndarray,
    test_codes: np.ndarray,
    test_classes: np.ndarray,
    depths: tuple[int, ...],
    trees: int,
    seed: int,
) -> np.ndarray:
    """float64 (len(depths),) of one factor; codes are float32 (d, n) and (d, m), ranks whole numbers (d, n)."""
    labels, numbered = np.unique(classes, return_inverse=True)
    votes = np.zeros((len(depths), test_codes.shape[1], len(labels)))
    random = np.random.RandomState(seed)
    for _ in range(trees):
        tree_seed = random.randint(2**31 - 1)
        drawn = np.random.RandomState(tree_seed).randint(0, codes.shape[1], codes.shape[1])
        weights = np.bincount(drawn, minlength=codes.shape[1])
        state = np.random.RandomState(tree_seed).randint(0, 2**31 - 1)
        _grow(codes, ranks, numbered, weights, test_codes, np.array(depths), np.uint32(state), votes)
    return (labels[votes.argmax(2)] != test_classes).mean(1)


def _scaled(codes: np.ndarray, like: np.ndarray) -> np.ndarray:
    """float32 codes that begin at 0 in `like`, by the power of two that brings their range there near 1.

    `_CLOSE` has a scale, and float32 has not the digits for a small range far from 0.
    """
    codes, like = codes.astype(np.float64), like.astype(np.float64)
    exponents = np.frexp(np.ptp(like, axis=0))[1]
    with np.errstate(over="ignore"):
        near = np.ldexp(codes - like.min(axis=0), -exponents)
    return near.clip(-1e30, 1e30).astype(np.float32)


def _ranks(columns: np.ndarray) -> np.ndarray:
    """int64 (d, n): how many different values of its row are smaller."""
    order = columns.argsort(axis=1)
    ranks = np.zeros(columns.shape, np.int64)
    rises = np.diff(np.take_along_axis(columns, order, axis=1), axis=1) > 0
    np.put_along_axis(ranks, order[:, 1:], rises.cumsum(axis=1), axis=1)
    return ranks


@compiled
def _grow(
    codes: Any,
    ranks: Any,
    classes: Any,
    weights: Any,
    test_codes: Any,
    depths: Any,
    state: Any,
    votes: Any,
) -> None:
    """Grow one tree on the samples with a weight; add to `votes` (depth, test sample, class) the shares it gives."""
    n_codes, n_classes = len(codes), votes.shape[2]
    samples, tests = np.flatnonzero(weights), np.arange(test_codes.shape[1])
    keys, spare = np.empty(len(samples), np.int64), np.empty(max(len(samples), len(tests)), np.int64)
    total, left = np.empty(n_classes, np.int64), np.empty(n_classes, np.int64)
    order, constant = np.arange(n_codes), np.empty(n_codes, np.int64)
    n_tried = max(1, int(np.sqrt(n_codes)))
    n_bits = 1
    while ranks.max() >> n_bits:
        n_bits += 1

    # start, end, start and end of the test samples, depth, number of codes known to be constant
    stack = [(0, len(samples), 0, len(tests), 0, 0)]
    while len(stack):
        start, end, test_start, test_end, depth, n_known = stack.pop()
        total[:] = 0
        for i in samples[start:end]:
            total[classes[i]] += weights[i]
        weight, squares = total.sum(), (total * total).sum()
        at, threshold = -1, 0.0
        impurity = 1.0 - float(squares) / (float(weight) * float(weight))
        if depth < depths[-1] and end - start > 1 and impurity > _IMPURITY:
            state, at, threshold, n_constant = _best_split(
                codes, ranks, classes, weights, samples[start:end], total, weight, squares,
                keys, spare, left, order, constant, n_known, n_tried, n_bits, state,
            )  # fmt: skip
        _vote(total / weight, tests[test_start:test_end], depth, at < 0, depths, votes)
        if at >= 0:
            middle = start + _part(samples[start:end], codes[at], threshold, spare)
            test_middle = test_start + _part(tests[test_start:test_end], test_codes[at], threshold, spare)
            stack.append((middle, end, test_middle, test_end, depth + 1, n_constant))
            stack.append((start, middle, test_start, test_middle, depth + 1, n_constant))


@compiled
def _best_split(
    codes: Any, ranks: Any, classes: Any, weights: Any, samples: Any, total: Any, weight: Any, squares: Any,
    keys: Any, spare: Any, left: Any, order: Any, constant: Any, n_known: Any, n_tried: Any, n_bits: Any, state: Any,
) -> Any:  # fmt: skip
    """The next random state, the code to split at (-1 for none) and its threshold, and how many codes are constant.

    Codes are tried in random order until `n_tried` were, and one of them not constant, as scikit-learn draws them:
    `order` holds the known constant ones, those just found, those left, and from `untried` on those that were tried.
    """
    n = len(samples)
    at, threshold, best = -1, 0.0, -np.inf
    untried, n_visited, n_found, n_drawn = len(order), 0, 0, 0
    while untried > n_known + n_found and (n_visited < n_tried or n_visited <= n_found + n_drawn):
        n_visited += 1
        state = _next(state)
        place = n_drawn + int(state & np.uint32(2**31 - 1)) % (untried - n_found - n_drawn)
        if place < n_known:
            order[n_drawn], order[place] = order[place], order[n_drawn]
            n_drawn += 1
            continue
        place += n_found
        code = order[place]
        values = codes[code]
        for i in range(n):
            keys[i] = (np.int64(ranks[code, samples[i]]) << _RANK) | samples[i]
        _sort(keys[:n], spare, n_bits)
        low, high = values[keys[0] & (2**_RANK - 1)], values[keys[n - 1] & (2**_RANK - 1)]
        if high <= low + _CLOSE:
            order[place], order[n_known + n_found] = order[n_known + n_found], order[place]
            n_found += 1
            continue
        untried -= 1
        order[untried], order[place] = order[place], order[untried]

        left[:] = 0
        weight_left, squares_left, squares_right = 0, 0, squares
        previous = low
        for i in range(n):
            sample = keys[i] & (2**_RANK - 1)
            value = values[sample]
            if value > previous + _CLOSE:
                a, b = float(weight_left), float(weight - weight_left)
                gain = -b * (1.0 - float(squares_right) / (b * b)) - a * (1.0 - float(squares_left) / (a * a))
                if gain > best:
                    best, at = gain, code
                    threshold = float(previous) / 2.0 + float(value) / 2.0
            previous = value
            w, c = weights[sample], classes[sample]
            squares_left += w * (2 * left[c] + w)
            squares_right -= w * (2 * (total[c] - left[c]) - w)
            left[c] += w
            weight_left += w
    order[:n_known] = constant[:n_known]
    constant[n_known : n_known + n_found] = order[n_known : n_known + n_found]
    return state, at, threshold, n_known + n_found


@compiled
def _vote(shares: Any, tests: Any, depth: Any, is_leaf: Any, depths: Any, votes: Any) -> None:
    """Add a node's shares for its test samples, at its depth; a leaf's also at every greater one."""
    present = np.flatnonzero(shares)
    for i in range(len(depths)):
        if depths[i] == depth or (is_leaf and depths[i] > depth):
            for test in tests:
                for c in present:
                    votes[i, test, c] += shares[c]


@compiled
def _part(samples: Any, values: Any, threshold: Any, spare: Any) -> Any:
    """Put samples of values up to the threshold first, both parts in their order; returns how many they are."""
    n_low, n_high = 0, 0
    for sample in samples:
        if values[sample] <= threshold:
            samples[n_low] = sample
            n_low += 1
        else:
            spare[n_high] = sample
            n_high += 1
    samples[n_low:] = spare[:n_high]
    return n_low


@compiled
def _sort(keys: Any, spare: Any, n_bits: Any) -> None:
    """Sort by rank: the bits from `_RANK` on, of which `n_bits` are in use."""
    n = len(keys)
    if n <= _SHORT:
        for i in range(1, n):
            key = keys[i]
            j = i - 1
            while j >= 0 and keys[j] > key:
                keys[j + 1] = keys[j]
                j -= 1
            keys[j + 1] = key
        return
    places = np.empty(2**_DIGIT, np.int64)
    for shift in range(_RANK, _RANK + n_bits, _DIGIT):
        places[:] = 0
        for key in keys:
            places[(key >> shift) & (2**_DIGIT - 1)] += 1
        before = 0
        for digit in range(2**_DIGIT):
            before, places[digit] = before + places[digit], before
        for key in keys:
            digit = (key >> shift) & (2**_DIGIT - 1)
            spare[places[digit]] = key
            places[digit] += 1
        keys[:] = spare[:n]


@compiled
def _next(state: Any) -> Any:
    """Marsaglia's xorshift of 32 bits."""
    state = np.uint32(state if state else 1)
    state ^= np.uint32(state << np.uint32(13))
    state ^= np.uint32(state >> np.uint32(17))
    state ^= np.uint32(state << np.uint32(5))
    return state
