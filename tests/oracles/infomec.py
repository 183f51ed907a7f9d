"""InfoMEC: InfoM, InfoC and InfoE, by loops over samples and scikit-learn's regression."""

import warnings
from typing import Any

import numpy as np
from scipy.special import digamma
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from disbench.types import Draw

TOLERANCE = 1e-4  # of InfoE, which comes as near 1 as one cares to go where classes are separable


def infomec(codes: np.ndarray, draw: Draw, settings: Any) -> dict[str, float]:
    codes, factors = codes[draw.indices["train"]].astype(np.float64), draw.labels["train"]
    n_factors = factors.shape[1]
    entropy = np.array([mutual_info_score(v, v) for v in factors.T])
    if (entropy == 0).any():
        return {}
    active = active_codes(codes, settings)
    if settings.none_active_is_zero and not active.any():
        return {f"infomec.{name}": 0.0 for name in ("infom", "infoe", "infoc")}
    random = np.random.RandomState(draw.seed)
    information = np.empty((codes.shape[1], n_factors))
    for k in range(n_factors):
        for d in range(codes.shape[1]):
            if settings.quantised:
                values = np.unique(codes[:, d], return_inverse=True)[1]
                information[d, k] = mutual_info_score(values, factors[:, k])
            else:
                noise = random.standard_normal(len(codes))
                information[d, k] = from_neighbours(codes[:, d], factors[:, k], settings.neighbours, noise)
    normalised = information / entropy
    found = {
        "infomec.infom": mean_share(normalised[active], 0.0),
        "infomec.infoc": mean_share(normalised[active].T, settings.smoothing),
        "infomec.infoe": explicitness(codes, factors, settings.quantised),
    }
    return {name: value for name, value in found.items() if value is not None}


def active_codes(codes: np.ndarray, settings: Any) -> np.ndarray:
    if settings.spread == "range":
        spread = codes.max(0) - codes.min(0)
    else:
        spread = np.quantile(codes, 0.75, axis=0) - np.quantile(codes, 0.25, axis=0)
    return spread > (settings.least_spread if settings.quantised else settings.least_share * spread.max())


def from_neighbours(code: np.ndarray, classes: np.ndarray, neighbours: int, noise: np.ndarray) -> float:
    """Ross 2014, equation 1 with its means; the range of the code is 2**61 whole units, so that distances are exact."""
    if code.min() == code.max():
        return 0.0
    unit = (code.max() - code.min()) / 2**61
    places = np.round((code - code.min()) / unit).astype(int) + np.round(noise * 1e-10 * code.std() / unit).astype(int)
    sizes = np.array([(classes == c).sum() for c in classes])
    places, classes, sizes = places[sizes > 1], classes[sizes > 1], sizes[sizes > 1]
    if len(places) == 0:
        return 0.0
    terms = []
    for i in range(len(places)):
        distances = np.abs(places - places[i])
        k = min(neighbours, sizes[i] - 1)
        radius = np.sort(distances[classes == classes[i]])[k]  # place 0 is the sample itself
        nearer = max((distances < radius).sum(), (distances == 0).sum())
        terms.append(digamma(len(places)) + digamma(k) - digamma(sizes[i]) - digamma(nearer))
    return max(0.0, float(np.mean(terms)))


def mean_share(information: np.ndarray, smoothing: float) -> float | None:
    n_columns = information.shape[1]
    shares = [row.max() / (row.sum() + smoothing) for row in information if n_columns > 1 and row.sum() + smoothing > 0]
    if not shares:
        return None
    return max(0.0, float((np.mean(shares) - 1 / n_columns) / (1 - 1 / n_columns)))


def explicitness(codes: np.ndarray, factors: np.ndarray, quantised: bool) -> float:
    inputs = (OneHotEncoder(sparse_output=False) if quantised else StandardScaler()).fit_transform(codes)
    found = []
    for classes in factors.T:
        model = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-7, max_iter=10_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable classes have no best regression
            model.fit(inputs, classes)
        loss = log_loss(classes, model.predict_proba(inputs))
        found.append(1 - loss / np.log(len(np.unique(classes))))
    return float(np.mean(found))
