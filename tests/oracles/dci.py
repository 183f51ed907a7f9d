"""DCI, one factor, one row and one column at a time."""

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier


def dci(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], seed: int, stages: int
) -> dict[str, float]:
    """train, test: codes (n, d) and factors (n, k)."""
    columns, accuracies = [], []
    for k in range(train[1].shape[1]):
        model = GradientBoostingClassifier(n_estimators=stages, random_state=seed)
        model.fit(train[0], train[1][:, k])
        columns.append(np.abs(model.feature_importances_))
        accuracies.append(model.score(test[0], test[1][:, k]))
    importance = np.array(columns).T
    return {
        "dci.disentanglement": weighted(importance),
        "dci.completeness": weighted(importance.T),
        "dci.informativeness": float(np.mean(accuracies)),
    }


def weighted(importance: np.ndarray) -> float:
    """Of importances (d, k): sum over rows of their share times 1 - entropy in base k."""
    total = 0.0
    for row in importance:
        p = (row + 1e-11) / (row + 1e-11).sum()
        share = row.sum() / importance.sum() if importance.sum() else 1 / len(importance)
        total += share * (1 + (p * np.log(p)).sum() / np.log(len(row)))
    return total
