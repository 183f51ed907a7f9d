"""UDR over small random families of models."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench.errors import DisbenchError, UsageError
from disbench.metrics import udr as module
from disbench.metrics.udr import Settings, udr
from tests.oracles import udr as plain

COARSE = st.integers(-8, 8).map(lambda i: i / 4)
each = pytest.mark.parametrize("similarity", ["lasso", "spearman"])


def family(seed: int, m: int = 4, n: int = 60, d: int = 3) -> np.ndarray:
    """Models whose codes are rotations, by a little, of the same ones."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, d))
    return np.stack([shared @ (np.eye(d) + 0.3 * rng.standard_normal((d, d))) for _ in range(m)])


@each
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_one(similarity: str, seed: int) -> None:
    codes, kl = family(seed), np.random.default_rng(seed).choice([0.005, 1.0], (4, 3), p=[0.2, 0.8])
    chosen = Settings(similarity)
    found = udr(codes, kl, similarity=similarity)
    np.testing.assert_allclose(found.details["pairwise"], plain.pairs(codes, kl, chosen), atol=plain.TOLERANCE)
    assert found.values == pytest.approx(plain.udr(codes, kl, chosen), abs=plain.TOLERANCE)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (3, 12, 3), elements=COARSE))
def test_spearman_with_ties_equals_the_plain_one(codes: np.ndarray) -> None:
    kl = np.ones((3, 3))
    found = udr(codes, kl, similarity="spearman")
    expected = plain.pairs(codes, kl, Settings("spearman"))
    np.testing.assert_allclose(found.details["pairwise"], expected, atol=plain.TOLERANCE)


@each
def test_what_should_not_move_it(similarity: str) -> None:
    codes, kl = family(0), np.ones((4, 3))
    rng = np.random.default_rng(0)
    expected = udr(codes, kl, similarity=similarity).values["udr"]
    assert expected > 0.1
    scaled = codes * 10.0 ** rng.integers(-8, 17, (4, 1, 3))
    with_dead = np.concatenate([codes, np.full((4, 60, 1), 0.1)], axis=2)
    changed = {
        "samples": (codes[:, rng.permutation(60)], kl),
        "codes": (codes[:, :, [2, 0, 1]], kl),
        "models": (codes[[3, 1, 0, 2]], kl),
        "scale": (scaled, kl),
        "a dead code": (with_dead, np.concatenate([kl, np.zeros((4, 1))], axis=1)),
    }
    for what, (other, its_kl) in changed.items():
        found = udr(other, its_kl, similarity=similarity).values["udr"]
        assert found == pytest.approx(expected, abs=1e-9), what


def test_equal_models_score_high_and_unrelated_ones_low() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((400, 3))
    assert udr(np.stack([shared] * 3), np.ones((3, 3)), similarity="spearman").values["udr"] > 0.8
    assert udr(rng.standard_normal((3, 400, 3)), np.ones((3, 3))).values["udr"] < 0.05


@each
def test_a_model_without_informative_codes_scores_zero(similarity: str) -> None:
    codes, kl = family(0), np.ones((4, 3))
    kl[1] = 0.001
    found = udr(codes, kl, similarity=similarity)
    assert found.details["model_scores"][1] == 0
    assert np.array(found.details["pairwise"])[1].max() == 0
    assert found.details["model_scores"][0] > 0


def test_a_constant_code_has_to_do_with_nothing() -> None:
    codes = family(0)
    codes[:, :, 0] = 0.1
    kl = np.ones((4, 3))
    for similarity in ("lasso", "spearman"):
        expected = plain.pairs(codes, kl, Settings(similarity))
        np.testing.assert_allclose(udr(codes, kl, similarity=similarity).details["pairwise"], expected, atol=1e-8)


def test_duplicated_codes_share_their_coefficient() -> None:
    codes = family(0, m=2)
    alone = udr(codes, np.ones((2, 3))).details["pairwise"]
    twice = udr(codes[:, :, [0, 0, 1, 2]], np.ones((2, 4))).details["pairwise"]
    assert 0 < twice[0][1] < alone[0][1]


def test_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    assert udr(family(0)[:1], np.ones((1, 3))).undefined == {"udr": "UDR compares models; there is only one"}
    assert "two samples" in udr(family(0)[:, :1], np.ones((4, 3))).undefined["udr"]
    monkeypatch.setattr(module, "_MAX_ITERATIONS", 1)
    assert "does not settle" in udr(family(0), np.ones((4, 3))).undefined["udr"]


@pytest.mark.parametrize(
    ("codes", "kl", "message"),
    [
        (np.ones((4, 3)), np.ones(3), r"codes must be \(models, samples, codes\)"),
        (np.ones((2, 5, 3)), np.ones((2, 5)), r"kl must be \(2, 3\), models by codes; got \(2, 5\)"),
        (np.full((2, 5, 3), np.nan), np.ones((2, 3)), "finite"),
        (np.full((2, 5, 3), 1e30), np.ones((2, 3)), "must lie within"),
    ],
)
def test_bad_input(codes: Any, kl: Any, message: str) -> None:
    with pytest.raises(DisbenchError, match=message):
        udr(codes, kl)


def test_bad_settings_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="lasso or spearman; got 'pearson'"):
        udr(family(0), np.ones((4, 3)), similarity="pearson")
    with pytest.raises(UsageError, match=r"udr\.alpha must be above 0"):
        udr(family(0), np.ones((4, 3)), alpha=0.0)
    monkeypatch.setattr("disbench.metrics._memory._available", lambda device: 1000)
    with pytest.raises(DisbenchError, match=r"a comparison of 4 models with 3 codes each needs .* GB of memory"):
        udr(family(0), np.ones((4, 3)))


def test_one_models_codes_are_refused() -> None:
    for function in (module.draw, module.score):
        with pytest.raises(DisbenchError, match=r"call disbench\.metrics\.udr\.udr\(codes, kl\)"):
            function(None, None, None)
