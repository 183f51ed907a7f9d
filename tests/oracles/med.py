"""MED, one code and factor at a time."""

from typing import Any

import numpy as np

from disbench.types import Draw
from tests.oracles.dci import weighted
from tests.oracles.explicitness import regression, standardised
from tests.oracles.mutual_information import labelled

TOLERANCE = 1e-9


def med(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    found = labelled(codes, draw, settings.bins)
    if found is None:
        return {}
    information = found[2]
    relative = np.array([column / column.sum() if column.sum() else column for column in information.T]).T
    kept = relative[most_disentangled(relative, settings.top_k)]
    values = {}
    if kept.shape[1] > 1:
        values["med.disentanglement"] = weighted(kept)
    if kept.shape[0] > 1:
        values["med.completeness"] = weighted(kept.T)
    train, test = standardised(codes[draw.indices["train"]], codes[draw.indices["test"]])
    models = [regression(train, column, 1.0) for column in draw.labels["train"].T]
    accuracies = [model.score(test, column) for model, column in zip(models, draw.labels["test"].T, strict=True)]
    return values | {"med.informativeness": float(np.mean(accuracies))}


def most_disentangled(relative: np.ndarray, top_k: int) -> list[int]:
    everything = list(range(len(relative)))
    if top_k >= len(relative) or not relative.any():
        return everything
    kept = []
    for k in range(relative.shape[1]):
        of_factor = [d for d in everything if relative[d].any() and np.argmax(relative[d]) == k]
        kept += sorted(of_factor, key=lambda d: impurity(relative[d]))[:top_k]
    return sorted(kept)


def impurity(row: np.ndarray) -> float:
    return -sum(p * np.log(p) for p in row / row.sum() if p)
