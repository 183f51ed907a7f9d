"""Explicitness, one factor and class at a time."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from disbench.types import Draw

TOLERANCE = 1e-4


def explicitness(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    train, test = standardised(codes[draw.indices["train"]], codes[draw.indices["test"]])
    factors, test_factors = draw.labels["train"], draw.labels["test"]
    if any(len(set(column)) < 2 for column in factors.T):
        return {}
    areas: dict[str, list[float]] = {"explicitness": [], "explicitness.train": []}
    for k in range(factors.shape[1]):
        model = regression(train, factors[:, k], settings.penalty)
        for name, rows, labels in (
            ("explicitness", test, test_factors[:, k]),
            ("explicitness.train", train, factors[:, k]),
        ):
            scores = model.predict_log_proba(rows)
            of_classes = [
                roc_auc_score(labels == c, scores[:, i])
                for i, c in enumerate(model.classes_)
                if 0 < (labels == c).sum() < len(labels)
            ]
            if of_classes:
                areas[name].append(float(np.mean(of_classes)))
    return {name: float(np.mean(found)) for name, found in areas.items() if len(found) == factors.shape[1]}


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes in units of the training samples' standard deviations, without constant ones; a 0 if none is left."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    varies = train.max(0) > train.min(0)
    if not varies.any():
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    mean, deviation = train[:, varies].mean(0), train[:, varies].std(0)
    return (train[:, varies] - mean) / deviation, (test[:, varies] - mean) / deviation


def regression(codes: np.ndarray, labels: np.ndarray, penalty: float) -> LogisticRegression:
    """At its optimum."""
    return LogisticRegression(C=1 / penalty, solver="newton-cg", tol=1e-8, max_iter=1000).fit(codes, labels)
