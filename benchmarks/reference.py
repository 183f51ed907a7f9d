"""What a user without disbench runs: each metric as a loop around numpy and scikit-learn, as its reference has it.

Every function takes codes (n, d) and factors (n, k) of training samples, the same of test samples, and where a factor
has to be held fixed the code of every combination and the sizes of the factors. It returns what the metric is called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import sqrtm
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss, mutual_info_score, roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC


@dataclass(frozen=True)
class Given:
    """Samples, and the table that interventions draw from."""

    codes: np.ndarray
    factors: np.ndarray
    test_codes: np.ndarray
    test_factors: np.ndarray
    table: np.ndarray
    sizes: tuple[int, ...]

    def encode(self, factors: np.ndarray) -> np.ndarray:
        return self.table[np.ravel_multi_index(tuple(factors.T), self.sizes)]

    def draw(self, rng: np.random.RandomState, n: int) -> np.ndarray:
        return np.stack([rng.randint(size, size=n) for size in self.sizes], axis=1)


def _binned(codes: np.ndarray, bins: int = 20) -> np.ndarray:
    return np.stack([np.digitize(code, np.histogram(code, bins)[1][:-1]) for code in codes.T], axis=1)


def _information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    binned = _binned(codes)
    return np.array([[mutual_info_score(factor, code) for factor in factors.T] for code in binned.T])


def mig(given: Given) -> float:
    information = np.sort(_information(given.codes, given.factors), axis=0)
    entropy = np.array([mutual_info_score(factor, factor) for factor in given.factors.T])
    return float(np.mean((information[-1] - information[-2]) / entropy))


def modularity(given: Given) -> float:
    information = _information(given.codes, given.factors)
    best = information.max(1)
    others = (information**2).sum(1) - best**2
    return float(np.mean(1 - others / (best**2 * (information.shape[1] - 1))))


def dci(given: Given, stages: int = 100) -> float:
    columns = [
        GradientBoostingClassifier(n_estimators=stages, random_state=0).fit(given.codes, factor).feature_importances_
        for factor in given.factors.T
    ]
    return disentanglement(np.array(columns).T)


def disentanglement(importance: np.ndarray) -> float:
    p = (importance + 1e-11) / (importance + 1e-11).sum(1, keepdims=True)
    per_code = 1 + (p * np.log(p)).sum(1) / np.log(importance.shape[1])
    return float((per_code * importance.sum(1)).sum() / importance.sum())


def sap(given: Given) -> float:
    scores = np.zeros((given.codes.shape[1], len(given.sizes)))
    for d in range(len(scores)):
        for k in range(len(given.sizes)):
            machine = LinearSVC(C=0.01, class_weight="balanced").fit(given.codes[:, [d]], given.factors[:, k])
            scores[d, k] = np.mean(machine.predict(given.test_codes[:, [d]]) == given.test_factors[:, k])
    scores.sort(axis=0)
    return float(np.mean(scores[-1] - scores[-2]))


def explicitness(given: Given) -> float:
    scaler = StandardScaler().fit(given.codes)
    found = []
    for factor, test in zip(given.factors.T, given.test_factors.T, strict=True):
        model = LogisticRegression().fit(scaler.transform(given.codes), factor)
        probabilities = model.predict_proba(scaler.transform(given.test_codes))
        one_hot = test[:, None] == model.classes_
        found.append(np.mean([roc_auc_score(a, b) for a, b in zip(one_hot.T, probabilities.T, strict=True)]))
    return float(np.mean(found))


def factor_vae(given: Given) -> float:
    rng = np.random.RandomState(0)
    variance = given.encode(given.draw(rng, 10_000)).var(0, ddof=1)

    def votes(n: int) -> np.ndarray:
        table = np.zeros((len(given.sizes), len(variance)), int)
        for _ in range(n):
            k, factors = rng.randint(len(given.sizes)), given.draw(rng, 64)
            factors[:, k] = factors[0, k]
            table[k, np.argmin(given.encode(factors).var(0, ddof=1) / variance)] += 1
        return table

    chosen, evaluation = votes(10_000).argmax(0), votes(5_000)
    return float(evaluation[chosen, np.arange(len(chosen))].sum() / evaluation.sum())


def beta_vae(given: Given) -> float:
    rng = np.random.RandomState(0)

    def points(n: int) -> tuple[np.ndarray, np.ndarray]:
        features, labels = [], []
        for _ in range(n):
            k, first, second = rng.randint(len(given.sizes)), given.draw(rng, 64), given.draw(rng, 64)
            second[:, k] = first[:, k]
            features.append(np.abs(given.encode(first) - given.encode(second)).mean(0))
            labels.append(k)
        return np.array(features), np.array(labels)

    model = LogisticRegression().fit(*points(10_000))
    return float(model.score(*points(5_000)))


def gaussian_total_correlation(given: Given) -> float:
    covariance = np.cov(given.codes.T)
    return float(0.5 * (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]))


def gaussian_wasserstein_correlation(given: Given) -> float:
    covariance = np.cov(given.codes.T)
    return float(2 * np.trace(covariance) - 2 * np.trace(sqrtm(np.diag(covariance)[:, None] * covariance)).real)


def mutual_information(given: Given) -> float:
    binned = _binned(given.codes)
    information = np.array([[mutual_info_score(a, b) for a in binned.T] for b in binned.T])
    n = len(information)
    return float((information.sum() - np.trace(information)) / (n * n - n))


def infomec_infoe(given: Given) -> float:
    """InfoE, after the kNN information that InfoM and InfoC are made of."""
    codes = StandardScaler().fit_transform(given.codes)
    found = []
    for factor in given.factors.T:
        for d in range(codes.shape[1]):
            mutual_info_classif(codes[:, [d]], factor, n_neighbors=10, random_state=0)
        model = LogisticRegression(C=np.inf, class_weight="balanced").fit(given.codes, factor)
        found.append(1 - log_loss(factor, model.predict_proba(given.codes)) / np.log(factor.max() + 1))
    return float(np.mean(found))


def irs(given: Given) -> float:
    largest = np.abs(given.codes - given.codes.mean(0)).max(0)
    groups = _binned(given.factors)
    deviation = np.zeros((given.codes.shape[1], len(given.sizes)))
    for k, of in enumerate(groups.T):
        members = [given.codes[of == g] for g in np.unique(of)]
        deviation[:, k] = np.mean([np.quantile(np.abs(m - m.mean(0)), 0.99, axis=0) for m in members], axis=0)
    return float(((1 - deviation / largest[:, None]).max(1) * largest).sum() / largest.sum())


def sap_continuous(given: Given) -> float:
    d = given.codes.shape[1]
    correlation = np.corrcoef(given.codes.T, given.factors.T)[:d, d:]
    scores = np.sort(correlation**2, axis=0)
    return float(np.mean(scores[-1] - scores[-2]))


def med_informativeness(given: Given) -> float:
    """After the importances that disentanglement and completeness are made of."""
    disentanglement(_information(given.codes, given.factors))
    scaler = StandardScaler().fit(given.codes)
    found = []
    for factor, test in zip(given.factors.T, given.test_factors.T, strict=True):
        model = LogisticRegression().fit(scaler.transform(given.codes), factor)
        found.append(model.score(scaler.transform(given.test_codes), test))
    return float(np.mean(found))


def flatness(given: Given) -> float:
    rng = np.random.RandomState(0)
    ratios = []
    for k, size in enumerate(given.sizes):
        widths, lengths = [], []
        for _ in range(1_024):
            factors = np.repeat(given.draw(rng, 1), size, axis=0)
            factors[:, k] = np.arange(size)
            codes = given.encode(factors)
            widths.append(np.sqrt(((codes[:, None] - codes[None]) ** 2).sum(2)).max())
            lengths.append(np.sort(np.abs(np.roll(codes, -1, axis=0) - codes).sum(1))[:-1].sum())
        ratios.append(np.mean(widths) / np.mean(lengths))
    return float(np.mean(ratios))


def dci_es_explicitness(given: Given) -> float:
    depths = np.array([1, 2, 3, 4, 8, 10, 12, 14, 16, 18, 20, 32])
    found = []
    for factor, test in zip(given.factors.T, given.test_factors.T, strict=True):
        forests = [RandomForestClassifier(max_depth=d, random_state=0).fit(given.codes, factor) for d in depths]
        curve = np.minimum.accumulate([1 - forest.score(given.test_codes, test) for forest in forests])
        area = np.trapezoid(curve - curve.min(), depths)
        baseline = 1 - np.bincount(factor).max() / len(factor)
        found.append(1 - area / (0.5 * (depths[-1] - depths[0]) * baseline))
    return float(np.mean(found))


def downstream_logistic_10000(given: Given) -> float:
    """After the fits at 100 and 1,000 labels."""
    found = []
    for k in range(len(given.sizes)):
        for n in (100, 1_000, 10_000):
            model = LogisticRegressionCV(
                Cs=10, cv=KFold(5), use_legacy_attributes=False, l1_ratios=(0.0,), scoring="accuracy"
            ).fit(given.codes[:n], given.factors[:n, k])
        found.append(model.score(given.test_codes, given.test_factors[:, k]))
    return float(np.mean(found))
