"""Downstream accuracy, one size, learner and factor at a time."""

import warnings
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import KFold

from disbench.types import Draw
from tests.oracles.dci import boost, tree_orders

TOLERANCE = 1e-4


def downstream(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    train, test = (codes[draw.indices[part]].astype(np.float64) for part in ("train", "test"))
    factors, test_factors = draw.labels["train"], draw.labels["test"]
    values = {}
    for size in (100, 1_000, 10_000):
        if len(factors) < size or any(len(set(column)) < 2 for column in factors[:size].T):
            continue
        orders = tree_orders(factors[:size], codes.shape[1], draw.seed, settings.stages)
        logistic, trees = [], []
        for k in range(factors.shape[1]):
            labels, test_labels = factors[:size, k], test_factors[:, k]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of defaults to come, and of steps too small to matter
                model = LogisticRegressionCV(
                    cv=KFold(5), scoring="accuracy", solver="newton-cg", tol=1e-8, max_iter=1000
                )
                model.fit(train[:size], labels)
            logistic.append(np.mean(model.predict(test) == test_labels))
            predicted = boost(train[:size].astype(np.float32), labels, test.astype(np.float32), orders[k])[2]
            trees.append(np.mean(predicted == test_labels))
        values[f"downstream.logistic_{size}"] = float(np.mean(logistic))
        values[f"downstream.trees_{size}"] = float(np.mean(trees))
    for name in ("logistic", "trees"):
        few, many = (values.get(f"downstream.{name}_{size}") for size in (100, 10_000))
        if few is not None and many:
            values[f"downstream.{name}_efficiency"] = few / many
    return values
