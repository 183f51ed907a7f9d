"""Flatness, one traversal at a time."""

import numpy as np

from disbench.types import Draw

TOLERANCE = 1e-9


def flatness(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    if not len(draw.labels["varying"]):
        return {}
    ratios = []
    for part in draw.indices.values():
        widths, lengths = [], []
        for traversal in part:
            points = codes[traversal].astype(np.float64)
            widths.append(max(np.linalg.norm(a - b) for a in points for b in points))
            steps = sorted(np.abs(points[i] - points[i - 1]).sum() for i in range(len(points)))
            lengths.append(sum(steps[:-1]))
        ratios.append(np.mean(widths) / np.mean(lengths) if np.mean(lengths) else 0.0)
    return {"flatness": float(np.mean(ratios))}
