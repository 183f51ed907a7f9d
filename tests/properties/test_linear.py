"""The linear classifiers behind several metrics find scikit-learn's optimum, whatever they are given."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.svm import LinearSVC
from torch import Tensor

from disbench.metrics import _newton
from disbench.metrics._hinge import one_code_accuracy
from disbench.metrics._linear import cross_validated_regression, softmax_regression
from disbench.metrics._ranking import auroc
from tests.oracles.sap import told

seeds = st.integers(0, 2**31)


def made(seed: int, n: int, d: int, size: int) -> tuple[Tensor, Tensor]:
    """Codes (n, d) of several scales, the last one a copy, and classes (n, 1) that the first one tells roughly."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-1, 2, d) + rng.standard_normal(d)
    codes = np.concatenate([codes, codes[:, :1]], axis=1)
    ranks = codes[:, 0].argsort().argsort() / n * size + 0.7 * rng.standard_normal(n)
    classes = np.clip(ranks, 0, size - 1).astype(np.int64)
    return torch.from_numpy(codes), torch.from_numpy(np.unique(classes, return_inverse=True)[1])[:, None]


def optimum(codes: Tensor, classes: Tensor, weights: Tensor | None, **options: object) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps too small to matter
        model = LogisticRegression(solver="newton-cg", tol=1e-9, max_iter=10_000, **options)
        model.fit(codes.numpy(), classes[:, 0].numpy(), sample_weight=None if weights is None else weights.numpy())
    return model.predict_proba(codes.numpy())


@settings(max_examples=15, deadline=None)
@given(
    seeds, st.sampled_from([40, 200, 2500]), st.integers(1, 4), st.integers(2, 7), st.sampled_from([0.1, 1, 100]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_regression_finds_the_optimum(
    seed: int, n: int, d: int, size: int, penalty: float, balanced: bool, weighted: bool
) -> None:
    codes, classes = made(seed, n, d, size)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed)).double() + 0.1 if weighted else None
    found = softmax_regression(codes, classes, penalty=penalty, balanced=balanced, weights=weights)
    expected = optimum(codes, classes, weights, C=1 / penalty, class_weight="balanced" if balanced else None)
    np.testing.assert_allclose(found.log_probabilities(codes)[0].exp(), expected, atol=1e-3)


@pytest.mark.parametrize("limit", ["_COUPLED", "none"])
def test_every_preconditioner_leads_to_the_optimum(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if limit != "none":
        monkeypatch.setattr(_newton, limit, 1)
    codes, classes = made(3, 1500, 3, 6)
    found = softmax_regression(codes, classes, penalty=1.0).log_probabilities(codes)[0].exp()
    np.testing.assert_allclose(found, optimum(codes, classes, None), atol=1e-3)


def test_standardised_regression_ignores_scales() -> None:
    codes, classes = made(1, 300, 3, 4)
    scaled = codes * torch.tensor([1e-6, 1.0, 1e9, 7.0]).double()
    found = [
        softmax_regression(x, classes, penalty=1.0, standardise=True).log_probabilities(x) for x in (codes, scaled)
    ]
    standard = (codes - codes.mean(0)) / codes.std(0, correction=0)
    np.testing.assert_allclose(found[0][0].exp(), optimum(standard, classes, None), atol=1e-3)
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("factor", [1e18, 1e-18, 1e-150, 0.0])
def test_extreme_codes(factor: float, penalty: float) -> None:
    codes, classes = made(2, 200, 3, 4)
    codes = torch.cat([codes * factor, codes[:, :1] * 0 + 1e18], dim=1)
    regression = softmax_regression(codes, classes, penalty=penalty, balanced=True)
    for rows in (codes, torch.full_like(codes, 1e18)):
        probabilities = regression.log_probabilities(rows)[0].exp()
        assert bool(probabilities.isfinite().all())
        np.testing.assert_allclose(probabilities.sum(1), 1)
    if factor < 1e-10 and penalty:
        np.testing.assert_allclose(regression.log_probabilities(codes)[0].exp(), 0.25, atol=1e-6)


def test_separable_classes_without_a_penalty() -> None:
    classes = torch.arange(100)[:, None] % 4
    scores = softmax_regression(classes.double(), classes, penalty=0.0).log_probabilities(classes.double())[0]
    assert -1e-5 < scores.gather(1, classes).mean() <= 0


def test_a_class_without_samples_has_probability_zero() -> None:
    codes, classes = made(0, 100, 2, 3)
    found = softmax_regression(codes, 2 * classes, penalty=1.0).log_probabilities(codes)[0].exp()
    assert found.shape == (100, 5)
    assert not found[:, [1, 3]].any()
    kept = softmax_regression(codes, classes, penalty=1.0).log_probabilities(codes)[0].exp()
    np.testing.assert_allclose(found[:, ::2], kept, atol=1e-9)


@pytest.mark.parametrize(("seed", "size"), [(0, 2), (1, 3)])
def test_cross_validation_chooses_alike(seed: int, size: int) -> None:
    """Up to penalties whose accuracies in cross-validation are nearly tied."""
    codes, classes = made(seed, 100, 2, size)
    penalties = [10.0 ** (4 - 8 * i / 9) for i in range(10)]
    found = cross_validated_regression(codes, classes, penalties=penalties, folds=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegressionCV(cv=KFold(5), scoring="accuracy", solver="newton-cg", tol=1e-8, max_iter=1000)
        model.fit(codes.numpy(), classes[:, 0].numpy())
    expected = np.mean(model.predict(codes.numpy()) == classes[:, 0].numpy())
    assert found.accuracy(codes, classes).item() == pytest.approx(expected, abs=0.03)


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([12, 60, 300]), st.integers(2, 6), st.sampled_from([1.0, 100.0]), st.booleans())
@example(seed=240, n=12, size=4, penalty=1.0, coarse=True)  # two classes have the same classifier
def test_one_code_classifiers_are_the_best(seed: int, n: int, size: int, penalty: float, coarse: bool) -> None:
    codes, classes = made(seed, n, 3, size)
    codes = codes.round() if coarse else codes
    test, test_classes = made(seed + 1, 200, 3, size + 1)
    found = one_code_accuracy(codes, classes, test, test_classes, penalty=penalty)
    for d in range(codes.shape[1]):
        model = LinearSVC(C=1 / penalty, class_weight="balanced", dual=False, tol=1e-12, max_iter=10_000)
        model.fit(codes[:, [d]].numpy(), classes[:, 0].numpy())
        expected = np.mean(told(model, test[:, [d]].numpy()) == test_classes[:, 0].numpy())
        scores = np.sort(model.decision_function(test[:, [d]].numpy()).reshape(len(test), -1), axis=1)
        lead = scores[:, -1] - scores[:, -2] if scores.shape[1] > 1 else np.abs(scores[:, 0])
        tied = np.mean(lead < 1e-9)  # classes with the same classifier: rounding tells which one is named
        assert found[d, 0].item() == pytest.approx(expected, abs=tied + 1e-12)


@pytest.mark.parametrize("factor", [1e18, 1e-40, 1e-150, 0.0])
def test_one_code_classifiers_of_extreme_codes(factor: float) -> None:
    codes, classes = made(5, 200, 2, 3)
    accuracy = one_code_accuracy(codes * factor, classes, codes * factor, classes, penalty=100.0)
    assert bool(accuracy.isfinite().all())
    if factor < 1e-10:  # the penalty leaves no slope, and balanced classes no preference but for the first
        assert len(accuracy.unique()) == 1


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 80), st.integers(0, 2), st.floats(0.05, 0.95))
def test_auroc_counts_ties_half(seed: int, n: int, decimals: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal((n, 4)), decimals)
    scores[:, 0] = -np.inf
    positive = rng.random((n, 4)) < share
    positive[0], positive[1] = True, False
    found = auroc(torch.from_numpy(scores), torch.from_numpy(positive))
    ranks = np.where(np.isinf(scores), -1e9, scores)
    assert found.tolist() == pytest.approx([roc_auc_score(positive[:, c], ranks[:, c]) for c in range(4)], abs=1e-10)


def test_auroc_without_positives_or_negatives() -> None:
    positive = torch.tensor([[True, False, True], [True, False, False]])
    assert auroc(torch.zeros(2, 3), positive).isnan().tolist() == [True, True, False]
    assert auroc(torch.zeros(2, 1), positive[:, 1:2]).isnan().all()
