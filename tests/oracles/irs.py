"""IRS, one group of samples at a time, means in the codes' own precision as in the reference."""

import numpy as np

from disbench.types import Draw
from tests.oracles.mutual_information import binned

TOLERANCE = 1e-6  # numpy sums float32 in another order where there is a single code


def irs(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    rows = codes[draw.indices["train"]]
    rows = rows[:, np.ptp(rows, axis=0) > 0]
    if not rows.shape[1]:
        return {"irs": 0.0}
    largest = np.abs(rows - rows.astype(np.float64).mean(axis=0)).max(axis=0)
    columns = []
    for groups in binned(draw.labels["train"], settings.bins).T:
        deviations = []
        for group in np.unique(groups):
            inside = rows[groups == group]
            distances = np.abs(inside - inside.mean(axis=0)).astype(np.float64)
            deviations.append(np.quantile(distances, settings.quantile, axis=0))
        columns.append(1 - np.mean(deviations, axis=0) / largest)
    return {"irs": float(np.average(np.max(columns, axis=0), weights=largest))}
