"""DCI-ES's explicitness: scikit-learn's forests, every test sample walked down every tree to every depth."""

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from disbench.types import Draw

TOLERANCE = 1e-9
DEPTHS = [1, 2, 3, 4, 8, 10, 12, 14, 16, 18, 20, 32]


def dci_es(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    factors, test_factors = draw.labels["train"], draw.labels.get("test")
    if test_factors is None or (factors == factors[0]).all(0).any():
        return {}
    codes, test_codes = codes[draw.indices["train"]].astype(float), codes[draw.indices["test"]].astype(float)
    spans = np.ptp(codes, axis=0)
    power = 2.0 ** -np.array([np.floor(np.log2(span)) + 1 if span else 0 for span in spans])
    low = codes.min(axis=0)
    codes, test_codes = ((part - low) * power for part in (codes, test_codes))
    found = []
    for k in range(factors.shape[1]):
        forest = RandomForestClassifier(settings.trees, max_depth=DEPTHS[-1], random_state=draw.seed)
        forest.fit(codes, factors[:, k])
        losses = []
        for depth in DEPTHS:
            wrong = [
                predict(forest, row, depth) != label for row, label in zip(test_codes, test_factors[:, k], strict=True)
            ]
            losses.append(np.mean(wrong))
        curve = [min(losses[: i + 1]) for i in range(len(losses))]
        area = 0.0
        for i in range(1, len(curve)):
            area += (DEPTHS[i] - DEPTHS[i - 1]) * ((curve[i] - curve[-1]) + (curve[i - 1] - curve[-1])) / 2
        baseline = 1 - max(np.mean(factors[:, k] == c) for c in set(factors[:, k]))
        found.append(1 - area / (0.5 * (DEPTHS[-1] - DEPTHS[0]) * baseline))
    return {"dci_es.explicitness": float(np.mean(found))}


def predict(forest: RandomForestClassifier, row: np.ndarray, depth: int) -> int:
    """The class with the largest mean share in the nodes that the row has reached after `depth` steps."""
    shares = np.zeros(len(forest.classes_))
    for estimator in forest.estimators_:
        tree, node = estimator.tree_, 0
        for _ in range(depth):
            if tree.children_left[node] >= 0:
                goes_left = row[tree.feature[node]] <= tree.threshold[node]
                node = tree.children_left[node] if goes_left else tree.children_right[node]
        shares += tree.value[node, 0]
    return forest.classes_[shares.argmax()]
