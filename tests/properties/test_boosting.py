"""The engine behind DCI: two back ends that agree, with each other and with scikit-learn's trees."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from disbench.errors import DisbenchError
from disbench.metrics import _boosting, _memory
from disbench.metrics._boosting import boost, grow_tensors, prepare
from disbench.metrics._boosting_compiled import BLOCK, LANES, grow_compiled


def problem(kind: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, 4), and factors (n, 3) of 2, 3 and 17 values: more trees than one group of lanes holds."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(size, size=n) for size in (2, 3, LANES + 1)], axis=1)
    codes = factors @ rng.standard_normal((3, 4)) + rng.standard_normal((n, 4))
    if kind == "few values":
        codes = np.round(codes / 4)
    elif kind == "rare classes":
        factors[:, 0], factors[:, 2] = np.arange(n) == 0, np.maximum(0, np.arange(n) - n + 20)
    elif kind == "runs across blocks":
        codes[:, :2] = np.round(codes[:, :2], 1)
        codes[:, 3] = 1.0
    return codes.astype(np.float32), factors


@pytest.mark.parametrize("kind", ["smooth", "few values", "runs across blocks", "rare classes"])
@pytest.mark.parametrize("n", [2, BLOCK, BLOCK + 1, 700])
def test_back_ends_grow_the_same_trees(kind: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_boosting, "_MAX_CELLS", 20_000)  # a few trees at once
    codes, factors = problem(kind, n, n)
    test_codes, _ = problem(kind, 50, 1)
    given, _ = prepare(codes, factors, test_codes)
    compiled = grow_compiled(given, 3, 8)
    tensors = grow_tensors(given, 3, 8, torch.device("cpu"))
    for ours, other in zip(compiled, tensors, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-9, atol=1e-12)


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_number_of_threads_does_not_matter(two_threads: None) -> None:
    codes, factors = (torch.from_numpy(a) for a in problem("smooth", 500, 0))
    two = boost(codes, factors, codes, factors, seed=0, stages=10)
    torch.set_num_threads(1)
    one = boost(codes, factors, codes, factors, seed=0, stages=10)
    np.testing.assert_array_equal(one.importances, two.importances)
    np.testing.assert_array_equal(one.test_accuracy, two.test_accuracy)


@pytest.mark.parametrize("k", range(3))
def test_first_stage_is_that_of_scikit_learn(k: int) -> None:
    """Later stages follow other trees wherever two splits gain the same."""
    codes, factors = problem("smooth", 900, 5)
    reference = GradientBoostingClassifier(n_estimators=1, random_state=0).fit(codes, factors[:, k])
    found = boost(*(torch.from_numpy(a) for a in (codes, factors[:, [k]])), seed=0, stages=1)
    np.testing.assert_allclose(found.importances[:, 0], reference.feature_importances_, atol=5e-3)
    assert found.train_accuracy[0] == pytest.approx(reference.score(codes, factors[:, k]), abs=5e-3)


def test_labels_may_be_any_numbers_and_classes_may_be_missing() -> None:
    codes, factors = (torch.from_numpy(a) for a in problem("smooth", 300, 0))
    plain = boost(codes, factors, codes, factors, seed=0, stages=3)
    renamed = boost(codes, 7 * factors - 3, codes, 7 * factors - 3, seed=0, stages=3)
    np.testing.assert_array_equal(plain.importances, renamed.importances)
    np.testing.assert_array_equal(plain.test_accuracy, renamed.test_accuracy)
    unseen = boost(codes, factors, codes, factors + 100, seed=0, stages=3)
    assert not unseen.test_accuracy.any()


def test_constant_codes_predict_the_largest_class() -> None:
    _, factors = problem("smooth", 300, 0)
    found = boost(torch.zeros(300, 2), torch.from_numpy(factors), seed=0, stages=3)
    assert not found.importances.any()
    largest = [np.bincount(column).max() / 300 for column in factors.T]
    assert found.train_accuracy == pytest.approx(largest)
    assert found.test_accuracy is None


def test_one_class_needs_no_tree() -> None:
    codes, factors = problem("smooth", 100, 0)
    factors[:, 1] = 4
    found = boost(*(torch.from_numpy(a) for a in (codes, factors)), seed=0, stages=2)
    assert found.train_accuracy[1] == 1
    assert not found.importances[:, 1].any()


def test_no_factor_with_two_classes_needs_no_tree_at_all() -> None:
    codes, _ = problem("smooth", 50, 0)
    found = boost(torch.from_numpy(codes), torch.zeros(50, 2, dtype=torch.int64), seed=0, stages=2)
    assert not found.importances.any()
    assert found.train_accuracy.tolist() == [1, 1]


def test_codes_in_float64_keep_what_tells_them_apart() -> None:
    codes, factors = (torch.from_numpy(a) for a in problem("smooth", 300, 0))
    near, far = (boost(codes.double() + shift, factors, seed=0, stages=3) for shift in (0, 2.0**30))
    np.testing.assert_array_equal(near.importances, far.importances)


def test_codes_of_any_scale() -> None:
    codes, factors = (torch.from_numpy(a) for a in problem("smooth", 300, 0))
    plain, tiny, huge = (boost(codes * scale, factors, seed=0, stages=3) for scale in (1.0, 2.0**-60, 2.0**59))
    np.testing.assert_array_equal(plain.importances, tiny.importances)
    np.testing.assert_array_equal(plain.importances, huge.importances)


def test_too_many_codes_for_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_available", lambda _: 1_000)
    codes, factors = (torch.from_numpy(a) for a in problem("smooth", 300, 0))
    with pytest.raises(DisbenchError, match=r"4 codes needs .* GB of memory"):
        boost(codes, factors, seed=0, stages=1)
