"""SAP, one pair of code and factor at a time."""

from typing import Any

import numpy as np
from sklearn.svm import LinearSVC

from disbench.types import Draw

TOLERANCE = 1e-9


def sap(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    train, test = (codes[draw.indices[part]].astype(np.float64) for part in ("train", "test"))
    factors, test_factors = draw.labels["train"], draw.labels["test"]
    if codes.shape[1] < 2 or any(len(set(column)) < 2 for column in factors.T):
        return {}
    gaps = []
    for k in range(factors.shape[1]):
        accuracies = []
        for d in range(codes.shape[1]):
            model = LinearSVC(C=1 / settings.penalty, class_weight="balanced", dual=False, tol=1e-12, max_iter=10_000)
            model.fit(train[:, [d]], factors[:, k])
            accuracies.append(np.mean(told(model, test[:, [d]]) == test_factors[:, k]))
        best, second = sorted(accuracies, reverse=True)[:2]
        gaps.append(best - second)
    return {"sap": float(np.mean(gaps))}


def told(model: LinearSVC, codes: np.ndarray) -> np.ndarray:
    """The class of the highest line; the first, where they are equal but for the solver's rounding."""
    lines = model.decision_function(codes)
    if lines.ndim == 1:
        lines = np.stack([-lines, lines], axis=1)
    return model.classes_[(lines > lines.max(axis=1, keepdims=True) - 1e-7).argmax(axis=1)]
