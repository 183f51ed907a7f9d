"""Features of a set of images: any network as extractor, and statistics that are found again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from disbench.errors import DisbenchError, UsageError
from disbench.extractors import Extractor, find_features, load_extractor, reference_features
from disbench.features import Statistics
from disbench.image_comparison import compare_images
from disbench.image_sets import ImageSet, open_images
from disbench.images import to_images
from disbench.models import Model


def pooled(images: Tensor) -> Tensor:
    """Mean grey of each quarter: (n, 4)."""
    return nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)


class Counting:
    """A network that counts the images that it saw."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.n += len(images)
        return pooled(images)


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    path = tmp_path / "images.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    found = open_images(path)
    assert isinstance(found, ImageSet)
    return found


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    return Counting()


def known(network: Any, content_hash: str = "a" * 64, name: str = "counting (TF1)") -> Extractor:
    """An extractor whose code is known, as Inception's is."""
    return Extractor(name, Model("counting", network), torch.device("cpu"), content_hash)


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.npz"))


def test_statistics_are_those_of_numpy(images: ImageSet) -> None:
    index = images.draw(30, seed=0)
    found = find_features(images, index, load_extractor(pooled), keep_rows=True, batch_size=7)
    pixels = torch.cat(list(images.batches(40)))[index.sort().values]
    expected = pooled(to_images(pixels)).double().numpy()
    assert found.rows is not None
    np.testing.assert_allclose(found.rows.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(found.statistics.mean.numpy(), expected.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.statistics.covariance.numpy(), np.cov(expected.T), rtol=1e-5, atol=1e-12)


def test_reference_statistics_are_found_again(images: ImageSet, network: Counting, tmp_path: Path) -> None:
    index = images.draw(30, seed=0)
    first = reference_features(images, index, known(network))
    assert (network.n, len(cache_files(tmp_path))) == (30, 1)
    again = reference_features(images, index.flip(0), known(network), batch_size=3)  # the same images
    assert network.n == 30
    assert torch.equal(first.statistics.mean, again.statistics.mean)
    assert torch.equal(first.statistics.scatter, again.statistics.scatter)
    plain = find_features(images, index, known(network))
    torch.testing.assert_close(first.statistics.scatter, plain.statistics.scatter, rtol=1e-12, atol=0)


def test_whatever_else_they_are_of_is_computed(
    images: ImageSet, network: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = images.draw(30, seed=0)
    reference_features(images, index, known(network))
    np.savez(tmp_path / "other.npz", images=np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    other = open_images(tmp_path / "other.npz")
    assert isinstance(other, ImageSet)
    for number, arguments in enumerate(
        [
            (other, index, known(network)),
            (images, images.draw(30, seed=1), known(network)),
            (images, index, known(network, content_hash="b" * 64)),
            (images, index, known(network, name="counting (bilinear)")),
        ],
        2,
    ):
        network.n = 0
        reference_features(*arguments)
        assert (network.n, len(cache_files(tmp_path))) == (30, number)
    network.n = 0
    assert reference_features(images, index, known(network), keep_rows=True).rows is not None
    assert network.n == 30  # rows are not kept
    reference_features(images, index, replace(known(network), content_hash=None))
    assert (network.n, len(cache_files(tmp_path))) == (60, 5)


def test_damaged_files_are_ignored_and_written_anew(images: ImageSet, network: Counting, tmp_path: Path) -> None:
    index = images.draw(30, seed=0)
    first = reference_features(images, index, known(network))
    (path,) = cache_files(tmp_path)
    good = path.read_bytes()
    other = Statistics(30, torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), "another network")
    other.save(tmp_path / "other.npz")
    for damaged in (b"", good[:100], b"text" * 100, (tmp_path / "other.npz").read_bytes()):
        path.write_bytes(damaged)
        network.n = 0
        again = reference_features(images, index, known(network))
        assert network.n == 30
        assert torch.equal(again.statistics.scatter, first.statistics.scatter)
        assert path.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(
    images: ImageSet, network: Counting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "fid").write_text("in the way")
    found = reference_features(images, images.draw(30, seed=0), known(network))
    assert found.statistics.n == 30
    assert "going on without a cache" in capsys.readouterr().err


def test_modules_run_in_eval_mode_and_come_back(images: ImageSet) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Dropout(0.5))
    extractor = load_extractor(module)
    found = find_features(images, images.draw(None, seed=0), extractor, batch_size=9)
    assert module.training
    torch.testing.assert_close(
        found.statistics.mean, find_features(images, torch.arange(40), extractor).statistics.mean, rtol=1e-6, atol=1e-6
    )


def test_features_may_come_as_maps_and_as_numpy(images: ImageSet) -> None:
    index = torch.arange(10)
    expected = find_features(images, index, load_extractor(pooled)).statistics.scatter
    for network in (lambda images: pooled(images)[..., None, None], lambda images: pooled(images).numpy()):
        found = find_features(images, index, load_extractor(network)).statistics.scatter
        torch.testing.assert_close(found, expected)


def _wrong_number(images: Tensor) -> Tensor:
    return pooled(images)[:, : 4 if len(images) == 7 else 3]


def _not_finite(images: Tensor) -> Tensor:
    found = pooled(images)
    found[2, 1] = float("nan")
    return found


def _raises(images: Tensor) -> Tensor:
    raise ValueError("too dark")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda images: images, r"returned shape \(7, 3, 8, 8\) for 7 images; expected features \(7, d\) or"),
        (lambda images: images.mean((1, 2, 3)), r"returned shape \(7,\) for 7 images"),
        (lambda images: pooled(images)[:3], r"returned shape \(3, 4\) for 7 images"),
        (lambda images: pooled(images) * 1j, r"returned torch.complex64; expected real numbers"),
        (lambda images: (images, images), r"returned a tuple"),
        (_raises, r"_raises raised ValueError on images float32 \(7, 3, 8, 8\): too dark"),
        (_not_finite, r"the features of image 2 of .*images.npz are not finite"),
        (_wrong_number, r"every image must have the same features; image 14 has 3 and those before it 4"),
    ],
)
def test_what_extractors_do_wrong_is_said(network: Callable[..., Any], message: str, images: ImageSet) -> None:
    with pytest.raises(DisbenchError, match=message):
        find_features(images, torch.arange(16), load_extractor(network), batch_size=7)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("inceptio", r"no feature extractor called 'inceptio'; did you mean 'inception'"),
        ("pca10", r"no feature extractor called 'pca10'"),
        ("none.py:features", r"there is no Python file at none\.py"),
    ],
)
def test_extractors_that_are_not_there_are_named(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_extractor(source)


def test_weights_are_for_inception_only() -> None:
    with pytest.raises(UsageError, match=r"a file of weights is for Inception; leave it out with the"):
        load_extractor("own.py:a", weights="weights.pth")


def test_a_comparison_reads_the_reference_once(images: ImageSet, network: Counting, tmp_path: Path) -> None:
    fake = np.random.default_rng(2).integers(0, 200, (40, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "fake.npz", images=fake)
    first = compare_images(images, tmp_path / "fake.npz", features=known(network))
    again = compare_images(images, tmp_path / "fake.npz", features=known(network))
    assert network.n == 40 + 2 * 40
    assert first.scores["fid"] == again.scores["fid"]
    assert first.real.content_hash == images.content_hash
    assert first.features == "counting (TF1)"
    both = compare_images(images, images, features=known(network))
    assert both.scores["fid"] == pytest.approx(0, abs=1e-9)
