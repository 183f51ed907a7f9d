"""Statistics of features: one pass, merging, files, and what is refused."""

import io
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.errors import DisbenchError, UsageError
from disbench.features import Collector, Statistics, check_comparable, features_of
from tests.oracles.images import covariance


def drawn(seed: int, n: int, d: int, offset: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, d)) @ random.standard_normal((d, d)) + offset


def gathered(batches: list[np.ndarray], **options: object) -> Collector:
    collector = Collector(**options)  # type: ignore[arg-type]
    for batch in batches:
        collector.add(torch.from_numpy(batch))
    return collector


def assert_same(found: Statistics, expected: Statistics, within: float = 1e-12) -> None:
    assert found.n == expected.n
    for a, b in ((found.mean, expected.mean), (found.scatter, expected.scatter)):
        assert (a - b).abs().max() <= within * b.abs().max()


@pytest.mark.parametrize(("n", "d"), [(50, 4), (5, 12), (2, 3), (40, 1)])
def test_moments(n: int, d: int) -> None:
    features = drawn(n, n, d)
    found = features_of(features).statistics
    assert (found.mean.dtype, found.scatter.dtype) == (torch.float64, torch.float64)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.covariance, covariance(features), rtol=1e-12, atol=1e-12)


def test_shards_in_any_order_are_one_pass() -> None:
    features = torch.from_numpy(drawn(0, 90, 7))
    whole = Statistics.of(features)
    shards = [Statistics.of(part) for part in features.split([1, 40, 19, 30])]
    for order in itertools.permutations(shards):
        assert_same(order[0].merged(order[1]).merged(order[2]).merged(order[3]), whole)
    assert_same(shards[0].merged(shards[1]).merged(shards[2].merged(shards[3])), whole)


@pytest.mark.parametrize("at_once", [1, 7, 64, 500])
def test_batches_are_one_pass(at_once: int) -> None:
    features = drawn(1, 200, 5)
    batches = [features[i : i + at_once] for i in range(0, 200, at_once)]
    assert_same(gathered(batches).features().statistics, Statistics.of(torch.from_numpy(features)))


@pytest.mark.parametrize("at_once", [13, 1000])
def test_a_large_offset_keeps_precision(at_once: int) -> None:
    features = drawn(2, 1000, 6).astype(np.float32) + np.float32(1000)
    exact = np.cov(features.astype(np.longdouble) - 1000, rowvar=False).astype(np.float64)
    found = gathered([features[i : i + at_once] for i in range(0, 1000, at_once)]).features().statistics
    np.testing.assert_allclose(found.covariance, exact, atol=1e-11 * np.abs(exact).max(), rtol=0)


def test_constant_features_have_no_scatter() -> None:
    found = features_of(np.full((30, 4), 0.1, dtype=np.float32)).statistics
    assert found.scatter.abs().max() < 1e-30
    assert found.mean.tolist() == pytest.approx([float(np.float32(0.1))] * 4, abs=1e-17)


def test_rows_are_kept_if_asked() -> None:
    features = drawn(3, 25, 4)
    rows = gathered([features[:10], features[10:]], keep_rows=True).features().rows
    assert rows is not None
    assert rows.dtype == torch.float32
    assert torch.equal(rows, torch.from_numpy(features).float())
    assert gathered([features]).features().rows is None


def test_kept_rows_are_the_collectors_own() -> None:
    batch = torch.ones(3, 2)
    collector = Collector(keep_rows=True)
    collector.add(batch)
    batch.zero_()
    assert bool((collector.features().rows == 1).all())  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [np.float16, np.float32, np.float64, np.int64, np.dtype(">f4"), np.longdouble])
def test_any_real_numbers_do(make: type) -> None:
    features = np.arange(12).reshape(6, 2).astype(make)
    np.testing.assert_allclose(features_of(features).statistics.mean, [5, 6])
    np.testing.assert_allclose(features_of(features.tolist()).statistics.mean, [5, 6])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_the_image(bad: float) -> None:
    features = drawn(4, 20, 3)
    features[13, 1] = bad
    with pytest.raises(DisbenchError, match="the features of image 13 are not finite"):
        features_of(features)
    with pytest.raises(DisbenchError, match="the features of image 13 are not finite"):
        gathered([features[:10], features[10:]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(5), r"must be \(n, d\)"),
        (np.zeros((5, 2, 2)), r"must be \(n, d\)"),
        (np.zeros((5, 0)), r"must be \(n, d\)"),
        (np.zeros((0, 3)), "the set of images is empty"),
        (np.zeros((5, 2), dtype=complex), "must be real numbers"),
        (np.zeros((5, 2), dtype=bool), "must be real numbers"),
        (np.array([["a"]]), "must be real numbers"),
        ([[1, 2], [3]], "are no array"),
        (np.full((5, 2), 1e30), "leave ±1e"),
    ],
)
def test_no_features(features: object, message: str) -> None:
    with pytest.raises(DisbenchError, match=message):
        features_of(features)


def test_every_image_has_the_same_features() -> None:
    with pytest.raises(DisbenchError, match="image 4 has 3 and those before it 2"):
        gathered([np.zeros((4, 2)), np.zeros((4, 3))])


def test_sets_that_cannot_be_compared() -> None:
    two, three = (features_of(drawn(5, 10, d)).statistics for d in (2, 3))
    with pytest.raises(DisbenchError, match="2 and 3 features cannot be compared"):
        check_comparable(two, three)
    one, other = (gathered([drawn(5, 10, 2)], extractor=name).features().statistics for name in ("a", "b"))
    with pytest.raises(DisbenchError, match="features of a and of b cannot be compared"):
        one.merged(other)
    check_comparable(one, two)  # whose extractor is unknown


@pytest.mark.parametrize("known", [True, False])
def test_a_file_holds_all(tmp_path: Path, known: bool) -> None:
    made = gathered([drawn(6, 20, 4)], extractor="inception").features().statistics
    written = made if known else Statistics(0, made.mean, made.covariance)
    written.save(tmp_path / "statistics")
    found = Statistics.load(tmp_path / "statistics")
    assert (found.n, found.extractor) == ((20, "inception") if known else (0, ""))
    assert torch.equal(found.mean, made.mean)
    np.testing.assert_allclose(found.covariance, made.covariance, rtol=1e-14)


def test_a_file_object_will_do() -> None:
    file = io.BytesIO()
    features_of(drawn(7, 5, 2)).statistics.save(file)
    file.seek(0)
    assert sorted(np.load(file).files) == ["mu", "n", "sigma"]


def test_files_of_other_tools(tmp_path: Path) -> None:
    features = drawn(8, 40, 3)
    sigma = np.cov(features, rowvar=False).astype(np.float32)
    np.savez(tmp_path / "theirs.npz", mu=features.mean(0).astype(np.float32), sigma=sigma, other=np.zeros(3))
    found = Statistics.load(tmp_path / "theirs.npz")
    assert (found.n, found.scatter.dtype) == (0, torch.float64)
    np.testing.assert_allclose(found.covariance, sigma)
    with pytest.raises(DisbenchError, match="how many images"):
        found.merged(found)


SOUND = {"mu": np.zeros(3), "sigma": np.eye(3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": None}, "lacks the array mu"),
        ({"mu": None, "sigma": None}, "lacks the array mu and sigma"),
        ({"mu": np.zeros((3, 1))}, r"mu must be \(d,\)"),
        ({"mu": np.zeros(0)}, r"mu must be \(d,\)"),
        ({"mu": np.zeros(4)}, "mu has 4 features and sigma 3"),
        ({"sigma": np.zeros((3, 2))}, "must be square"),
        ({"sigma": np.zeros(3)}, "must be square"),
        ({"sigma": np.eye(3) + np.eye(3, k=1)}, "not symmetric"),
        ({"sigma": np.diag([1.0, np.nan, 1.0])}, "sigma is not finite"),
        ({"sigma": np.diag([1.0, -1.0, 1.0])}, "negative variance"),
        ({"mu": np.array([1, np.inf, 0])}, "mu is not finite"),
        ({"mu": np.array(["a", "b", "c"])}, "mu must hold real numbers"),
        ({"mu": np.array([{}, {}, {}], dtype=object)}, "cannot be read as an npz file"),
        ({"n": np.array(1)}, "at least 2"),
        ({"n": np.array([5, 6])}, "one whole number"),
        ({"n": np.array(5.5)}, "one whole number"),
        ({"features": np.array(["a", "b"])}, "one text"),
        ({"features": np.array(3)}, "one text"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {name: array for name, array in {**SOUND, **change}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DisbenchError, match=message) as caught:
        Statistics.load(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", pickle.dumps([1]), b"PK\x03\x04 cut off"])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DisbenchError, match="cannot be read as an npz file"):
        Statistics.load(tmp_path / "bad.npz")
    with pytest.raises(UsageError, match="there is no file"):
        Statistics.load(tmp_path / "missing.npz")


def test_one_image_has_no_covariance(tmp_path: Path) -> None:
    alone = features_of(np.zeros((1, 2))).statistics
    with pytest.raises(DisbenchError, match="at least 2"):
        alone.save(tmp_path / "alone.npz")
    assert not (tmp_path / "alone.npz").exists()
