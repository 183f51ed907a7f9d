"""KID against loops over pairs, and against stored numbers of torch-fidelity, subset by subset."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.errors import DisbenchError, UsageError
from disbench.features import features_of
from disbench.metrics.images import _kernel
from disbench.metrics.images._kernel import discrepancies, subset_marks
from disbench.metrics.images.kid import METRIC, Settings, kid
from tests.oracles.feature_sets import feature_sets
from tests.oracles.images import discrepancy

(GOLDEN,) = json.loads((Path(__file__).parent.parent / "golden" / "images" / "features.json").read_text())["kid"]


def drawn(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, d)) + shift).astype(np.float32)


@pytest.mark.parametrize("rows", [1024, 7])
@pytest.mark.parametrize(("n", "m", "d", "shift"), [(30, 30, 5, 0), (12, 25, 40, 0.5), (20, 9, 1, 2), (2, 2, 3, 0)])
def test_all_pairs(n: int, m: int, d: int, shift: float, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernel, "_ROWS", rows)
    real, made = drawn(0, n, d), drawn(1, m, d, shift)
    found = kid(real, made, subsets=3, subset_size=2)
    assert found.details["all_images"] == pytest.approx(discrepancy(real, made), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("rows", [1024, 8])
def test_subsets(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernel, "_ROWS", rows)
    real, made = drawn(2, 30, 6), drawn(3, 20, 6, 0.3)
    generator = torch.Generator().manual_seed(5)
    marks = [subset_marks(len(f), 9, 4, generator) for f in (real, made)]
    assert all((m.sum(0) == 9).all() and set(m.unique().tolist()) == {0, 1} for m in marks)
    expected = [
        discrepancy(real[a.numpy() == 1], made[b.numpy() == 1]) for a, b in zip(marks[0].T, marks[1].T, strict=True)
    ]
    found = kid(real, made, subsets=4, subset_size=9, seed=5)
    assert found.values["kid"] == pytest.approx(np.mean(expected), rel=1e-11)
    assert found.details["standard_deviation"] == pytest.approx(np.std(expected), rel=1e-10)
    np.testing.assert_allclose(
        discrepancies(torch.from_numpy(real), torch.from_numpy(made), *marks), expected, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name", GOLDEN["scores"])
def test_golden(name: str) -> None:
    """With torch-fidelity's own subsets, and without."""
    real, made = feature_sets(name)
    expected, size, subsets = GOLDEN["scores"][name], GOLDEN["subset_size"], GOLDEN["subsets"]
    random = np.random.RandomState(GOLDEN["seed"])
    marks = [torch.zeros(len(f), subsets, dtype=torch.float64) for f in (real, made)]
    for subset in range(subsets):
        for mark in marks:
            mark[random.choice(len(mark), size, replace=False), subset] = 1
    found = discrepancies(torch.from_numpy(real), torch.from_numpy(made), *marks)
    assert found.mean().item() == pytest.approx(expected["mean"], rel=1e-10)
    assert found.std(correction=0).item() == pytest.approx(expected["standard_deviation"], rel=1e-10)
    score = kid(real, made, subset_size=size, subsets=100)
    if "all_images" in expected:
        assert score.details["all_images"] == pytest.approx(expected["all_images"], rel=1e-10)
    spread = score.details["standard_deviation"]
    assert abs(score.values["kid"] - expected["mean"]) < 4 * spread * (1 / 100 + 1 / subsets) ** 0.5


def test_subsets_of_everything_are_everything() -> None:
    score = kid(drawn(0, 25, 4), drawn(1, 25, 4), subsets=3, subset_size=25)
    assert score.values["kid"] == pytest.approx(score.details["all_images"], rel=1e-12)
    assert score.details["standard_deviation"] < 1e-14


def test_the_seed_decides() -> None:
    real, made = drawn(0, 50, 4), drawn(1, 60, 4)
    a, b, c = (kid(real, made, subset_size=20, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a.values != c.values
    assert a.details["all_images"] == c.details["all_images"]


def test_equal_distributions_are_about_zero_and_can_be_below() -> None:
    found = [kid(drawn(i, 60, 8), drawn(100 + i, 60, 8), subset_size=30).values["kid"] for i in range(20)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / 20**0.5


def test_symmetry_order_and_distance() -> None:
    real, made = drawn(4, 40, 5), drawn(5, 40, 5, 0.2)
    expected = kid(real, made, subset_size=10).details["all_images"]
    assert kid(made, real, subset_size=10).details["all_images"] == pytest.approx(expected, rel=1e-10)
    assert kid(real[::-1], made[::-1], subset_size=10).details["all_images"] == pytest.approx(expected, rel=1e-10)
    assert kid(real, drawn(5, 40, 5, 1.0), subset_size=10).values["kid"] > expected


@pytest.mark.parametrize(("n", "m", "words"), [(30, 9, "kid.subset_size=9"), (9, 30, "=9"), (1, 30, "at least 2")])
def test_too_few_images(n: int, m: int, words: str) -> None:
    score = kid(drawn(0, n, 3), drawn(1, m, 3), subset_size=10)
    METRIC.check_score(score)
    assert words in score.undefined["kid"]


@pytest.mark.parametrize("wrong", [{"subset_size": 1}, {"subset_size": 0}, {"subsets": 0}, {"num_images": 0}])
def test_wrong_settings(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"kid\."):
        Settings(**wrong)  # type: ignore[arg-type]


def test_sets_of_other_features() -> None:
    features = [features_of(drawn(0, 20, d), keep_rows=True) for d in (2, 3)]
    with pytest.raises(DisbenchError, match="2 and 3 features"):
        METRIC.score(*features, Settings(subset_size=5), 0)
