"""BetaVAE score, one point at a time."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from disbench.types import Draw

TOLERANCE = 1e-4


def beta_vae(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    if len(draw.labels["varying"]) < 2:
        return {}
    codes = codes.astype(np.float64)
    points = {}
    for part in ("train", "eval"):
        points[part] = np.array([np.abs(codes[first] - codes[second]).mean(0) for first, second in draw.indices[part]])
    model = LogisticRegression(C=1 / settings.penalty, solver="newton-cg", tol=1e-8, max_iter=1000)
    model.fit(points["train"], draw.labels["train"])
    return {"beta_vae": float(model.score(points["eval"], draw.labels["eval"]))}
