"""TAD, one pair of code and attribute at a time."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from disbench.types import Draw

TOLERANCE = 1e-9


def tad(codes: np.ndarray, draw: Draw, settings) -> dict[str, float]:
    """Of codes (m, d) or tokens (m, t, e); {} where it is undefined."""
    labels = np.asarray(draw.labels["train"])
    codes = codes[np.asarray(draw.indices["train"])]
    if codes.ndim == 3:
        codes = one_per_token(codes) if settings.tokens == "pca" else codes.reshape(len(codes), -1)
    if codes.shape[1] < 2 or len(codes) < 2:
        return {}
    parts = [np.arange(len(codes))]
    if settings.folds > 1:
        if len(codes) < settings.folds:
            return {}
        parts = [train for train, _ in KFold(settings.folds, shuffle=True, random_state=0).split(codes)]
    found = [of_part(codes[part], labels[part], draw.labels.get("reduction"), settings) for part in parts]
    if None in found:
        return {}
    return {"tad": float(np.mean([f[0] for f in found])), "tad.captured": float(np.mean([f[1] for f in found]))}


def of_part(codes: np.ndarray, labels: np.ndarray, reduction, settings) -> tuple[float, int] | None:
    """TAD and the number of attributes captured."""
    n_attributes = labels.shape[1]
    two_valued = [a for a in range(n_attributes) if len(set(labels[:, a].tolist())) == 2]
    if not two_valued:
        return None
    total, captured = 0.0, 0
    for a in two_valued:
        second, best = sorted(area(code, labels[:, a], settings) for code in codes.T)[-2:]
        others = [b for b in range(n_attributes) if b != a]
        removed = [
            float(reduction[a, b]) if reduction is not None else reduction_by(labels[:, a], labels[:, b])
            for b in others
        ]
        if best >= settings.min_auroc and max(removed, default=0.0) <= settings.max_reduction:
            total += best - second
            captured += 1
    return total, captured


def area(code: np.ndarray, label: np.ndarray, settings) -> float:
    code = code.astype(np.float64)
    if code.max() - code.min() <= settings.min_range:
        return 0.5
    if settings.auroc == "exact":
        found = roc_auc_score(label, code)
        return max(found, 1 - found)
    return sweep(code, label, settings.thresholds)


def sweep(code: np.ndarray, label: np.ndarray, thresholds: int) -> float:
    """Both detectors at each threshold; rates sorted separately, and added up from above."""
    low, high = code.min(), code.max()
    is_positive = label == 1
    areas = []
    for below in (False, True):
        true_rates, false_rates = [], []
        for k in range(thresholds):
            threshold = high if k == thresholds - 1 else low + (high - low) * k / (thresholds - 1)
            detected = code < threshold if below else code >= threshold
            true_rates.append(Fraction(int((detected & is_positive).sum()), int(is_positive.sum())))
            false_rates.append(Fraction(int((detected & ~is_positive).sum()), int((~is_positive).sum())))
        true_rates.sort()
        false_rates.sort()
        steps = range(thresholds - 1)
        areas.append(sum(true_rates[i + 1] * (false_rates[i + 1] - false_rates[i]) for i in steps))
    return float(max(areas))


def reduction_by(attribute: np.ndarray, other: np.ndarray) -> float:
    """Share of the attribute's entropy that knowing the other removes."""
    before = entropy(attribute)
    after = sum(np.mean(other == value) * entropy(attribute[other == value]) for value in set(other.tolist()))
    return (before - after) / before if before else 0.0


def entropy(values: np.ndarray) -> float:
    counts = Counter(values.tolist()).values()
    return -sum(count / len(values) * math.log2(count / len(values)) for count in counts)


def one_per_token(tokens: np.ndarray) -> np.ndarray:
    columns = [PCA(1, svd_solver="full").fit_transform(token.astype(np.float64)) for token in tokens.transpose(1, 0, 2)]
    return np.concatenate(columns, axis=1).astype(np.float32)
