"""DCI, one factor, class, node, code and split at a time."""

from typing import Any

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9
UNIT = 2.0**24  # residuals are rounded to 1/UNIT, so that sums are exact and ties are ties


def dci(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    train, factors = codes[draw.indices["train"]].astype(np.float32), draw.labels["train"]
    if len(factors) < 2 or any(len(set(column)) < 2 for column in factors.T):
        return {}
    test, test_factors = codes[draw.indices["test"]].astype(np.float32), draw.labels["test"]
    orders = tree_orders(factors, codes.shape[1], draw.seed, settings.stages)
    columns, train_accuracy, test_accuracy = [], [], []
    for k in range(factors.shape[1]):
        importance, fitted, predicted = boost(train, factors[:, k], test, orders[k])
        columns.append(importance)
        train_accuracy.append(np.mean(fitted == factors[:, k]))
        test_accuracy.append(np.mean(predicted == test_factors[:, k]))
    importance = np.array(columns).T
    values = {
        "dci.informativeness": float(np.mean(test_accuracy)),
        "dci.informativeness_train": float(np.mean(train_accuracy)),
    }
    if importance.shape[1] > 1:
        values["dci.disentanglement"] = weighted(importance)
    if importance.shape[0] > 1:
        values["dci.completeness"] = weighted(importance.T)
    return values


def weighted(importance: np.ndarray) -> float:
    """Of importances (d, k): sum over rows of their share times 1 - entropy in base k."""
    total = 0.0
    for row in importance:
        p = (row + 1e-11) / (row + 1e-11).sum()
        share = row.sum() / importance.sum() if importance.sum() else 1 / len(importance)
        total += share * (1 + (p * np.log(p)).sum() / np.log(len(row)))
    return total


def tree_orders(factors: np.ndarray, n_codes: int, seed: int, stages: int) -> list[np.ndarray]:
    """Per factor (stage, tree, node, code): which code goes first among equal gains."""
    n_classes = [len(set(column)) for column in factors.T]
    n_trees = [1 if n == 2 else n for n in n_classes]
    drawn = np.stack([np.random.default_rng((seed, s)).random((sum(n_trees), 8, n_codes)) for s in range(stages)])
    return np.split(drawn, np.cumsum(n_trees)[:-1], axis=1)


def boost(
    codes: np.ndarray, labels: np.ndarray, test: np.ndarray, orders: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Importances, and the classes predicted for the training and the test samples."""
    classes = np.unique(labels)
    binary = len(classes) == 2
    mine = classes[1:] if binary else classes
    shares = np.array([np.mean(labels == c) for c in mine])
    start = np.log(shares / (1 - shares)) if binary else np.log(shares)
    scores, test_scores = np.tile(start, (len(codes), 1)), np.tile(start, (len(test), 1))
    importance = np.zeros(codes.shape[1])
    for order in orders:
        if binary:
            p = 1 / (1 + np.exp(-scores))
        else:
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
        for t, c in enumerate(mine):
            residual = (labels == c) - p[:, t]
            step, test_step = np.zeros(len(codes)), np.zeros(len(test))
            grow(
                codes, test, residual, np.round(residual * UNIT), p[:, t], 1.0 if binary else 1 - 1 / len(classes),
                order[t], 1, np.arange(len(codes)), np.arange(len(test)), importance, step, test_step,
            )  # fmt: skip
            scores[:, t] += step
            test_scores[:, t] += test_step

    def predict(found: np.ndarray) -> np.ndarray:
        return classes[(found[:, 0] >= 0).astype(int)] if binary else classes[found.argmax(1)]

    total = importance.sum()
    return importance / total if total else importance, predict(scores), predict(test_scores)


def grow(
    codes: np.ndarray, test: np.ndarray, residual: np.ndarray, whole: np.ndarray, p: np.ndarray, shrink: float,
    order: np.ndarray, node: int, rows: np.ndarray, test_rows: np.ndarray, importance: np.ndarray, step: np.ndarray,
    test_step: np.ndarray,
) -> None:  # fmt: skip
    best = (0.0, 0, 0.0, 0.0)  # gain, code, largest value on the left, threshold
    if node < 8:
        for d in range(codes.shape[1]):
            for low, high in zip(
                *[np.unique(codes[rows, d])[s] for s in (slice(None, -1), slice(1, None))], strict=True
            ):
                left = codes[rows, d] <= low
                n_left, n_right = left.sum(), (~left).sum()
                a = whole[rows][left].sum() * n_right - whole[rows][~left].sum() * n_left
                gain = a * a / (n_left * n_right)
                if gain > best[0] or (gain == best[0] and d != best[1] and order[node, d] < order[node, best[1]]):
                    best = (gain, d, low, np.float64(low) / 2 + np.float64(high) / 2)
    gain, d, low, threshold = best
    if gain > 0:
        importance[d] += gain / len(rows)
        for child, is_in, test_is_in in (
            (2 * node, codes[rows, d] <= low, test[test_rows, d] <= threshold),
            (2 * node + 1, codes[rows, d] > low, test[test_rows, d] > threshold),
        ):
            grow(
                codes, test, residual, whole, p, shrink, order, child, rows[is_in], test_rows[test_is_in],
                importance, step, test_step,
            )  # fmt: skip
        return
    weight = (p[rows] * (1 - p[rows])).sum()
    value = 0.1 * shrink * residual[rows].sum() / weight if weight > 1e-150 else 0.0
    step[rows] = test_step[test_rows] = np.clip(value, -600, 600)
