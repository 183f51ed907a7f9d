"""DCI-ES's explicitness: its forests are scikit-learn's, and every documented or undefined case."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from disbench.metrics._forests import _scaled, losses_by_depth
from disbench.metrics.dci_es import DEPTHS, dci_es
from disbench.types import Score

RANDOM = np.random.RandomState(0)
FACTORS = np.stack([RANDOM.randint(0, size, 500) for size in (2, 4, 7)], axis=1)
CODES = FACTORS @ RANDOM.standard_normal((3, 5)) + 0.3 * RANDOM.standard_normal((500, 5))


def scored(codes: np.ndarray = CODES, factors: np.ndarray = FACTORS, n_train: int = 350) -> Score:
    return dci_es(
        codes[:n_train], factors[:n_train], test_codes=codes[n_train:], test_factors=factors[n_train:], trees=10
    )


def value(score: Score) -> float:
    return score.values["dci_es.explicitness"]


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_codes=st.sampled_from([1, 3, 5, 17]),
    coarse=st.booleans(),
    depth=st.integers(1, 9),
)
def test_the_deepest_forest_is_that_of_scikit_learn(seed: int, n_codes: int, coarse: bool, depth: int) -> None:
    random = np.random.RandomState(seed)
    codes = random.standard_normal((240, n_codes))
    if coarse:
        codes = codes.round()
        codes[:, 0] = 1.0
    classes = (codes.sum(1) + random.standard_normal(240)).round().clip(-3, 3)[:, None]
    train, test = slice(0, 160), slice(160, None)
    found = losses_by_depth(
        codes[train], classes[train], codes[test], classes[test], depths=(1, depth + 1), trees=7, seed=seed, n_jobs=1
    )
    forest = RandomForestClassifier(7, max_depth=depth + 1, random_state=seed)
    forest.fit(_scaled(codes[train], codes[train]), classes[train, 0])
    assert found[0, -1] == 1 - forest.score(_scaled(codes[test], codes[train]), classes[test, 0])


def test_curves_fall_and_the_area_is_that_above_their_lowest_point() -> None:
    found = scored()
    curves = np.array(found.details["curves"])
    assert (np.diff(curves) <= 0).all()
    assert (curves == np.minimum.accumulate(found.details["losses"], axis=1)).all()
    assert found.details["baseline"] == pytest.approx([1 - np.bincount(f[:350]).max() / 350 for f in FACTORS.T])
    areas = [
        sum(
            (b - a) * (y + z - 2 * curve[-1]) / 2
            for a, b, y, z in zip(DEPTHS, DEPTHS[1:], curve, curve[1:], strict=False)
        )
        for curve in curves
    ]
    expected = 1 - np.array(areas) / (0.5 * 31 * np.array(found.details["baseline"]))
    assert found.details["explicitness"] == pytest.approx(expected)
    assert value(found) == pytest.approx(expected.mean())


def test_a_seed_decides_and_threads_do_not() -> None:
    arguments = CODES[:350], FACTORS[:350], CODES[350:], FACTORS[350:]
    one, two = (losses_by_depth(*arguments, depths=DEPTHS, trees=10, seed=3, n_jobs=n) for n in (1, 2))
    assert (one == two).all()
    assert (one != losses_by_depth(*arguments, depths=DEPTHS, trees=10, seed=4, n_jobs=1)).any()


def test_constant_codes_have_flat_curves() -> None:
    found = scored(np.ones((500, 2)))
    assert value(found) == 1
    assert found.details["losses"][0] == [found.details["losses"][0][0]] * len(DEPTHS)


def test_a_constant_code_and_a_duplicated_one_are_allowed() -> None:
    codes = np.concatenate([CODES, np.ones((500, 1)), CODES[:, :1]], axis=1)
    assert value(scored(codes)) == pytest.approx(value(scored()), abs=0.05)


def test_one_code_and_one_factor() -> None:
    assert 0 < value(scored(CODES[:, :1], FACTORS[:, :1])) <= 1


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**50])
def test_scale_and_place_do_not_matter(scale: float) -> None:
    assert value(scored(CODES * scale)) == value(scored())
    assert value(scored(CODES * 2**-20 + 2**20)) == pytest.approx(value(scored()), abs=0.01)


def test_test_codes_far_away_are_allowed() -> None:
    codes = CODES.copy()
    codes[350:] = 1e18
    codes[:350] *= 1e-300
    assert value(scored(codes)) <= 1


def test_classes_on_one_side_only() -> None:
    moved = FACTORS.copy()
    moved[350:] += 10  # every test class is new: always wrong
    found = scored(factors=moved)
    assert found.details["losses"] == [[1.0] * len(DEPTHS)] * 3
    assert value(found) == 1
    moved[350:] = 0  # most classes are missing from the test samples
    assert value(scored(factors=moved)) <= 1


def test_undefined() -> None:
    assert "none were given" in dci_es(CODES, FACTORS).undefined["dci_es.explicitness"]
    constant = scored(factors=FACTORS * [1, 0, 1])
    assert "factor '1' takes a single value" in constant.undefined["dci_es.explicitness"]
    assert "takes a single value" in scored(n_train=1).undefined["dci_es.explicitness"]
    assert value(scored(n_train=2, factors=np.arange(1500).reshape(500, 3))) == 1
