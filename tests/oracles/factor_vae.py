"""FactorVAE score, one vote at a time."""

from typing import Any

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def factor_vae(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    if len(draw.labels["varying"]) < 2:
        return {}
    variance = codes[draw.indices["variance"]].astype(np.float64).var(axis=0, ddof=1)
    threshold = settings.prune_threshold
    active = [d for d in range(codes.shape[1]) if variance[d] > 0 and np.sqrt(variance[d]) >= threshold]
    if not active:
        return {"factor_vae": 0.0}
    tables = {}
    for part in ("train", "eval"):
        tables[part] = np.zeros((len(draw.factor_names), codes.shape[1]), int)
        for batch, factor in zip(draw.indices[part], draw.labels[part], strict=True):
            local = codes[batch].astype(np.float64).var(axis=0, ddof=1)
            tables[part][factor, min(active, key=lambda d: local[d] / variance[d])] += 1
    correct = 0
    for d in range(codes.shape[1]):
        correct += tables["eval"][int(np.argmax(tables["train"][:, d])), d]
    return {"factor_vae": correct / tables["eval"].sum()}
