"""Gradient-boosted trees for DCI: one classifier per factor, factors in parallel.

This module imports no torch: worker processes start faster without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed


@dataclass(frozen=True)
class Boosted:
    """What the classifiers of k factors found: importances (d, k), accuracies (k,)."""

    importances: np.ndarray
    train_accuracy: np.ndarray
    test_accuracy: np.ndarray | None


def boost(
    codes: np.ndarray,
    factors: np.ndarray,
    test_codes: np.ndarray | None,
    test_factors: np.ndarray | None,
    *,
    seed: int,
    stages: int,
    n_jobs: int = -1,
) -> Boosted:
    """Fit scikit-learn's GradientBoostingClassifier (depth 3, learning rate 0.1) on codes (n, d), per factor (n, k).

    The seed decides between equal splits of different codes, and every factor starts from it, so the result does not
    depend on the number of workers. Those are joblib's: `joblib.parallel_config(backend=...)` chooses their kind.
    """
    n_factors = factors.shape[1]
    slowest_first = sorted(range(n_factors), key=lambda k: -len(np.unique(factors[:, k])))
    fits = Parallel(n_jobs=n_jobs)(
        delayed(_fit)(
            codes,
            factors[:, k],
            test_codes,
            None if test_factors is None else test_factors[:, k],
            seed,
            stages,
        )
        for k in slowest_first
    )
    in_order = [fits[slowest_first.index(k)] for k in range(n_factors)]
    importances, train, test = zip(*in_order, strict=True)
    return Boosted(np.stack(importances, axis=1), np.array(train), None if test_codes is None else np.array(test))


def _fit(
    codes: np.ndarray,
    classes: np.ndarray,
    test_codes: np.ndarray | None,
    test_classes: np.ndarray | None,
    seed: int,
    stages: int,
) -> tuple[np.ndarray, float, float | None]:
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=stages, random_state=seed).fit(codes, classes)
    train_accuracy = float((model.predict(codes) == classes).mean())
    test_accuracy = None if test_codes is None else float((model.predict(test_codes) == test_classes).mean())
    return model.feature_importances_, train_accuracy, test_accuracy
