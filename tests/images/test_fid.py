"""FID against scipy's matrix square root, against products of all rows, and against stored numbers of others."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.errors import DisbenchError
from disbench.features import Statistics, features_of
from disbench.metrics.images._frechet import frechet_distance
from disbench.metrics.images.fid import METRIC, VARIANTS, fid
from disbench.metrics.images.rfid import METRIC as RFID
from disbench.metrics.images.rfid import rfid
from tests.oracles.feature_sets import PAIRS, feature_sets
from tests.oracles.images import covariance, frechet, frechet_of_features, frechet_of_moments

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "images" / "features.json").read_text())["fid"]


def drawn(seed: int, n: int, d: int, rank: int | None = None, shift: float = 0.0, fall: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    rank = rank or d
    scale = np.arange(1, rank + 1) ** -fall
    return (random.standard_normal((n, rank)) * scale) @ random.standard_normal((rank, d)) + shift


def value(real: np.ndarray, made: np.ndarray) -> float:
    return fid(real, made).values["fid"]


# n, m, d, rank: full rank, deficient in one or both, one feature, fewer images than features, two images
SIZES = [
    (60, 60, 5, 5),
    (200, 50, 12, 12),
    (60, 40, 10, 4),
    (30, 30, 1, 1),
    (10, 12, 20, 20),
    (8, 300, 20, 20),
    (2, 2, 3, 3),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize(("n", "m", "d", "rank"), SIZES)
def test_against_plain_ways(n: int, m: int, d: int, rank: int, shift: float, seed: int) -> None:
    real, made = drawn(seed, n, d, rank), drawn(seed + 10, m, d, rank if seed else None, shift)
    found = value(real, made)
    assert found == pytest.approx(frechet_of_features(real, made), rel=1e-10, abs=1e-10)
    assert found == pytest.approx(frechet(real, made), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("fall", [0.5, 2.0, 5.0])
@pytest.mark.parametrize(("n", "m"), [(500, 500), (50, 50), (25, 500)])
def test_spectra_that_fall_steeply(n: int, m: int, fall: float) -> None:
    real, made = drawn(0, n, 100, fall=fall), drawn(1, m, 100, fall=fall, shift=0.1)
    assert value(real, made) == pytest.approx(frechet_of_features(real, made), rel=1e-9)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["against"])
@pytest.mark.parametrize("name", PAIRS)
def test_golden(name: str, golden: dict) -> None:
    assert value(*feature_sets(name)) == pytest.approx(golden["scores"][name], rel=1e-6, abs=1e-11)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("n", "d"), [(100, 10), (30, 80), (2, 5), (50, 1)])
def test_a_set_is_at_no_distance_from_itself(n: int, d: int, known: bool) -> None:
    statistics = features_of(drawn(n, n, d)).statistics
    if not known:
        statistics = Statistics(0, statistics.mean, statistics.covariance)
    found = frechet_distance(statistics, statistics)
    assert 0 <= found < 1e-11 * statistics.covariance.trace().item()


def test_statistics_of_unknown_number_have_the_same_distance() -> None:
    real, made = (features_of(drawn(seed, 30, 50)).statistics for seed in (0, 1))
    unknown = [Statistics(0, s.mean, s.covariance) for s in (real, made)]
    assert frechet_distance(*unknown) == pytest.approx(frechet_distance(real, made), rel=1e-9)


def test_rounding_behind_the_rank_is_left_out() -> None:
    """A file in float32 has noise where there should be no variance; the number of images says where that begins."""
    real, made = drawn(0, 30, 80, fall=0.5), drawn(1, 400, 80, fall=0.5)
    rounded = [
        Statistics(0, s.mean, s.covariance.float().double()) for s in (features_of(f).statistics for f in (real, made))
    ]
    known = [Statistics(n, s.mean, s.scatter * (n - 1)) for n, s in zip((30, 400), rounded, strict=True)]
    expected = frechet_of_features(real, made)
    errors = [abs(frechet_distance(*pair) - expected) for pair in (known, rounded)]
    assert errors[0] < 1e-6 * expected
    assert errors[0] < errors[1] / 10


def test_symmetry_and_terms() -> None:
    real, made = drawn(0, 40, 6), drawn(1, 70, 6, shift=1.0)
    score = fid(real, made)
    assert value(made, real) == pytest.approx(score.values["fid"], rel=1e-12)
    details = score.details
    assert (details["n_real"], details["n_made"]) == (40, 70)
    assert details["mean_term"] == pytest.approx(((real.mean(0) - made.mean(0)) ** 2).sum(), rel=1e-12)
    assert details["mean_term"] + details["covariance_term"] == score.values["fid"]


def test_a_shift_counts_squared() -> None:
    real = drawn(2, 50, 4)
    assert value(real, real + np.array([3.0, 0, 4.0, 0])) == pytest.approx(25, rel=1e-10)


def test_a_scale_counts_by_its_deviation() -> None:
    real = drawn(3, 50, 4)
    real -= real.mean(0)
    assert value(real, 3 * real) == pytest.approx(4 * np.trace(covariance(real)), rel=1e-10)


def test_invariances() -> None:
    real, made = drawn(4, 60, 8), drawn(5, 45, 8, shift=0.5)
    turn = np.linalg.qr(np.random.default_rng(6).standard_normal((8, 8)))[0]
    order = np.random.default_rng(7).permutation(60)
    expected = value(real, made)
    assert value(real @ turn + 2, made @ turn + 2) == pytest.approx(expected, rel=1e-10)
    assert value(real[order], made[::-1]) == pytest.approx(expected, rel=1e-12)
    assert value(2 * real, 2 * made) == pytest.approx(4 * expected, rel=1e-12)
    padded = [np.c_[f, np.zeros((len(f), 3))] for f in (real, made)]
    assert value(*padded) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scales_far_from_one(scale: float) -> None:
    real, made = drawn(4, 60, 8), drawn(5, 45, 8, shift=0.5)
    assert value(scale * real, scale * made) == pytest.approx(scale**2 * value(real, made), rel=1e-9)


def test_offset() -> None:
    real, made = drawn(8, 500, 6) + 1000, drawn(9, 500, 6) + 1000
    assert value(real, made) == pytest.approx(frechet_of_features(real - 1000, made - 1000), rel=1e-9)


def test_constant_sets() -> None:
    assert value(np.ones((5, 3)), np.full((6, 3), 2.0)) == pytest.approx(3, rel=1e-12)
    varied = drawn(10, 30, 3)
    expected = np.trace(covariance(varied)) + (varied.mean(0) ** 2).sum()
    assert value(np.zeros((5, 3)), varied) == pytest.approx(expected, rel=1e-12)


def test_torch_and_numpy_agree() -> None:
    real, made = drawn(11, 30, 4).astype(np.float32), drawn(12, 30, 4).astype(np.float32)
    assert fid(torch.from_numpy(real), torch.from_numpy(made)) == fid(real, made)


def test_reconstructions() -> None:
    real, made = drawn(13, 30, 4), drawn(14, 30, 4)
    assert rfid(real, made).values == {"rfid": value(real, made)}
    assert RFID.needs == "reconstructions"
    assert "rfid" in rfid(real[:1], made).undefined


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (1, 1)])
def test_one_image(n: int, m: int) -> None:
    score = fid(np.zeros((n, 3)), np.ones((m, 3)))
    assert set(score.undefined) == {"fid"}
    METRIC.check_score(score)


def test_the_variant_has_other_features() -> None:
    (variant,) = VARIANTS
    features = [features_of(drawn(seed, 20, 3)) for seed in (0, 1)]
    score = variant.score(*features, variant.settings(), 0)
    variant.check_score(score)
    assert (variant.name, variant.settings().features) == ("fid@disdiff", "inception@disdiff")
    assert score.values["fid@disdiff"] == METRIC.score(*features, METRIC.settings(), 0).values["fid"]


def test_sets_of_other_features() -> None:
    with pytest.raises(DisbenchError, match="2 and 3 features"):
        fid(np.zeros((5, 2)), np.zeros((5, 3)))


@pytest.mark.parametrize("sigma", [[[1.0, 2.0], [2.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
def test_a_covariance_with_negative_eigenvalues(sigma: list[list[float]]) -> None:
    bad = Statistics(0, torch.zeros(2).double(), torch.tensor(sigma).double())
    with pytest.raises(DisbenchError, match="negative eigenvalues"):
        frechet_distance(bad, bad)


def test_moments_of_other_tools() -> None:
    real, made = drawn(15, 40, 5), drawn(16, 40, 5)
    moments = [(f.mean(0), np.cov(f, rowvar=False)) for f in (real, made)]
    loaded = [Statistics(0, torch.from_numpy(m), torch.from_numpy(c)) for m, c in moments]
    assert frechet_distance(*loaded) == pytest.approx(frechet_of_moments(*moments[0], *moments[1]), rel=1e-9)
