"""Precision, recall, density and coverage against loops over scikit-learn's distances, and prdc's stored numbers."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.errors import DisbenchError, UsageError
from disbench.metrics.images import _manifolds
from disbench.metrics.images import density_coverage as densities
from disbench.metrics.images import precision_recall as precisions
from disbench.metrics.images._manifolds import squared_radii
from disbench.metrics.images.density_coverage import density_coverage
from disbench.metrics.images.precision_recall import precision_recall
from tests.oracles.feature_sets import PAIRS, feature_sets
from tests.oracles.images import manifolds

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "images" / "features.json").read_text())["manifolds"]


def found(real: np.ndarray, made: np.ndarray, neighbours: int) -> Mapping[str, float]:
    scores = [plain(real, made, neighbours=neighbours) for plain in (precision_recall, density_coverage)]
    for module, score in zip((precisions, densities), scores, strict=True):
        module.METRIC.check_score(score)
    return {name.partition(".")[2]: value for score in scores for name, value in score.values.items()}


def drawn(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, d)) + shift).astype(np.float32)


def sets(kind: str, seed: int, n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    real = drawn(seed, n, d)
    if kind == "apart":
        return real, drawn(seed + 50, m, d, 100.0)
    if kind == "shifted":
        return real, drawn(seed + 50, m, d, 0.7)
    if kind == "equal":
        return real, real.copy()
    if kind == "offset":
        return real + 1000, drawn(seed + 50, m, d) + 1000
    if kind == "copies":  # of a few images, so that many radii are 0
        return real[random.integers(0, 4, n)], real[random.integers(0, 6, m)]
    if kind == "grid":  # many equal distances
        return (random.integers(0, 3, (n, d)) + 1000).astype(np.float32), random.integers(0, 3, (m, d)) + np.float32(
            1000
        )
    if kind == "clusters":  # so far apart that products say nothing of distances within them
        far = (np.arange(40) % 2 * 60_000 - 30_000)[:, None]
        return tuple(np.c_[far[:k], 1e-4 * drawn(seed + k, k, d)].astype(np.float32) for k in (n, m))
    assert kind == "halves"  # a part of each set in the other
    return real, np.concatenate([real[: m // 2], drawn(seed + 50, m - m // 2, d)])


@pytest.mark.parametrize("block", [2**21, 64])
@pytest.mark.parametrize("kind", ["shifted", "apart", "equal", "offset", "copies", "grid", "clusters", "halves"])
@pytest.mark.parametrize(("n", "m", "d", "neighbours"), [(24, 17, 3, 3), (15, 30, 20, 5), (20, 20, 1, 1), (6, 7, 2, 5)])
def test_against_loops(
    kind: str, n: int, m: int, d: int, neighbours: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_manifolds, "_BLOCK", block)
    monkeypatch.setattr(_manifolds, "_TILE", min(block, 10))
    for seed in range(2):
        real, made = sets(kind, seed, n, m, d)
        assert found(real, made, neighbours) == pytest.approx(manifolds(real, made, neighbours), abs=1e-12)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: str(golden["neighbours"]))
@pytest.mark.parametrize("name", PAIRS)
def test_golden(name: str, golden: dict) -> None:
    expected = golden["scores"][name]
    assert found(*feature_sets(name), golden["neighbours"]) == pytest.approx(expected, abs=1e-12)


def test_many_features_and_equal_images_at_an_offset() -> None:
    """Products of rows round here; a copy is still at no distance, and its neighbours on the rim stay outside."""
    real = drawn(0, 40, 512) + 1000
    assert found(real, real.copy(), 3) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    doubled = np.repeat(real, 2, axis=0)
    assert found(doubled, doubled.copy(), 1) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_the_same_set_has_a_density_of_one() -> None:
    """A ball that reaches to the k-th neighbour holds its own image and k - 1 others."""
    real = drawn(1, 50, 4)
    for neighbours in (1, 3, 7):
        assert found(real, real, neighbours)["density"] == 1


def test_radii_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.from_numpy(drawn(2, 90, 33))
    expected = squared_radii(rows, 4)
    for block, tile in ((100, 7), (1000, 90), (1, 1)):
        monkeypatch.setattr(_manifolds, "_BLOCK", block)
        monkeypatch.setattr(_manifolds, "_TILE", tile)
        assert torch.equal(squared_radii(rows, 4), expected)


def test_order_and_scale() -> None:
    real, made = drawn(3, 40, 5), drawn(4, 30, 5, 0.3)
    expected = found(real, made, 3)
    assert found(real[::-1], made[np.random.default_rng(0).permutation(30)], 3) == expected
    assert found(8 * real, 8 * made, 3) == expected
    exchanged = precision_recall(made, real).values
    assert exchanged["precision_recall.recall"] == expected["precision"]


def test_an_outlier_widens_no_density() -> None:
    real = np.concatenate([drawn(5, 40, 3), [[100.0, 100.0, 100.0]]]).astype(np.float32)
    made = drawn(6, 40, 3, 30.0)  # all of it lies in the outlier's ball, whose radius is large
    assert precision_recall(real, made, neighbours=1).values["precision_recall.precision"] == 1
    values = density_coverage(real, made, neighbours=5).values
    assert values["density_coverage.density"] == pytest.approx(1 / 5)
    assert values["density_coverage.coverage"] == pytest.approx(1 / 41)


@pytest.mark.parametrize(("n", "m"), [(3, 10), (10, 3), (1, 1)])
def test_too_few_images(n: int, m: int) -> None:
    for module, plain in ((precisions, precision_recall), (densities, density_coverage)):
        score = plain(drawn(0, n, 2), drawn(1, m, 2), neighbours=3)
        module.METRIC.check_score(score)
        assert not score.values
        assert all("images" in reason for reason in score.undefined.values())
    assert found(drawn(0, 4, 2), drawn(1, 4, 2), 3)


def test_wrong_input() -> None:
    with pytest.raises(DisbenchError, match="2 and 3 features"):
        precision_recall(drawn(0, 10, 2), drawn(0, 10, 3))
    with pytest.raises(DisbenchError, match="image 0 are not finite"):
        density_coverage(drawn(0, 10, 2) * np.nan, drawn(0, 10, 2))
    for settings in (precisions.Settings, densities.Settings):
        with pytest.raises(UsageError, match="neighbours must be at least 1"):
            settings(neighbours=0)
