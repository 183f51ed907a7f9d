"""InfoMEC: its estimate of information, and every documented or undefined case."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import mutual_info_classif

from disbench.errors import DisbenchError, UsageError
from disbench.metrics import infomec as module
from disbench.metrics._neighbours import neighbour_information
from disbench.metrics.infomec import Dyga, infomec
from disbench.types import Draw

RANDOM = np.random.RandomState(0)
FACTORS = np.stack([RANDOM.randint(0, size, 400) for size in (3, 4, 5)], axis=1)
CODES = FACTORS + 0.3 * RANDOM.standard_normal((400, 3))
ALL = {"infomec.infom", "infomec.infoe", "infomec.infoc"}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans(), neighbours=st.integers(1, 12))
def test_information_is_that_of_scikit_learn(seed: int, coarse: bool, neighbours: int) -> None:
    random = np.random.RandomState(seed)
    codes = random.standard_normal((200, 2)) + FACTORS[:200, :1]
    codes = codes.round() if coarse else codes
    expected = np.empty((2, 2))
    noise = np.random.RandomState(seed)
    for k in range(2):
        for d in range(2):
            column = codes[:, [d]] / codes[:, d].std()
            expected[d, k] = mutual_info_classif(
                column, FACTORS[:200, k], discrete_features=False, n_neighbors=neighbours, random_state=noise
            )[0]
    found = neighbour_information(codes, FACTORS[:200, :2], neighbours, seed)
    assert found == pytest.approx(expected, abs=1e-3 if coarse else 1e-9)  # where codes are equal, its noise is rounded


def test_classes_of_one_sample_are_left_out_and_small_ones_have_fewer_neighbours() -> None:
    classes = np.repeat([0, 1, 2, 3], [1, 50, 4, 1])[:, None]
    code = np.linspace(0, 1, 56)[:, None] ** 2
    found = neighbour_information(code, classes, 10, 0)
    assert found == pytest.approx(neighbour_information(code[1:55], classes[1:55] - 1, 10, 0), abs=1e-9)
    assert found[0, 0] > 0
    assert neighbour_information(code, np.arange(56)[:, None], 10, 0).tolist() == [[0.0]]


def test_distinct_codes_do_not_feel_the_noise() -> None:
    a, b = (infomec(CODES, FACTORS, seed=seed) for seed in (0, 1))
    assert a.values == pytest.approx(b.values, abs=1e-12)
    coarse = [infomec(FACTORS, FACTORS, seed=seed).values["infomec.infom"] for seed in (0, 1)]
    assert coarse[0] != coarse[1]
    assert min(coarse) > 0.95


def test_one_code_and_one_factor() -> None:
    found = infomec(CODES[:, :1], FACTORS)
    assert set(found.undefined) == {"infomec.infoc"}
    assert "only one code is active" in found.undefined["infomec.infoc"]
    found = infomec(CODES, FACTORS[:, :1])
    assert set(found.undefined) == {"infomec.infom"}
    assert "only one factor" in found.undefined["infomec.infom"]


def test_constant_codes() -> None:
    found = infomec(np.full((400, 2), 3.0), FACTORS)
    assert found.values == pytest.approx({"infomec.infoe": 0.0}, abs=1e-9)
    assert found.undefined == dict.fromkeys(("infomec.infom", "infomec.infoc"), "no code is active")
    one = infomec(np.concatenate([CODES, np.ones((400, 1))], axis=1), FACTORS)
    assert one.details["normalised_information"][3] == [0, 0, 0]
    assert one.details["active"] == [True, True, True, False]
    assert one.values["infomec.infoc"] == pytest.approx(infomec(CODES, FACTORS).values["infomec.infoc"], abs=1e-9)


def test_a_single_valued_factor_leaves_nothing_defined() -> None:
    found = infomec(CODES, FACTORS * [1, 0, 1])
    assert set(found.undefined) == ALL
    assert "factor '1' takes a single value" in found.undefined["infomec.infom"]
    assert set(infomec(CODES[:1], FACTORS[:1]).undefined) == ALL


def test_codes_that_know_nothing() -> None:
    unique = np.stack([np.arange(40), np.arange(40)[::-1]], axis=1)
    found = infomec(CODES[:40], unique)
    assert set(found.undefined) == {"infomec.infom", "infomec.infoc"}
    assert "no active code informs about any factor" in found.undefined["infomec.infom"]
    partly = infomec(CODES, np.concatenate([FACTORS, np.arange(400)[:, None]], axis=1)[:, [0, 1, 2, 2]])
    assert set(partly.values) == ALL


def test_duplicated_codes_share_a_factor() -> None:
    once, twice = infomec(CODES, FACTORS), infomec(np.repeat(CODES, 2, axis=1), FACTORS)
    for name in ("infomec.infom", "infomec.infoe"):
        assert twice.values[name] == pytest.approx(once.values[name], abs=1e-5)
    assert twice.values["infomec.infoc"] < 0.5


@pytest.mark.parametrize("scale", [1e-18, 1e17])
def test_the_scale_of_all_codes_does_not_matter(scale: float) -> None:
    assert infomec(CODES * scale, FACTORS).values == pytest.approx(infomec(CODES, FACTORS).values, abs=1e-6)


def test_active_codes() -> None:
    rare = np.where(np.arange(400) < 8, 5.0, 0.0)[:, None]
    codes = np.concatenate([CODES, 0.04 * CODES[:, :1], rare], axis=1)
    assert infomec(codes, FACTORS).details["active"] == [True, True, True, False, True]
    by_quartiles = infomec(codes, FACTORS, spread="interquartile", least_share=0.01)
    assert by_quartiles.details["active"] == [True, True, True, True, False]
    with pytest.raises(UsageError, match=r"infomec\.spread must be range or interquartile; got 'std'"):
        infomec(CODES, FACTORS, spread="std")


def test_quantised_codes_are_counted() -> None:
    found = infomec(FACTORS * 0.5, FACTORS, quantised=True)
    assert np.diag(found.details["normalised_information"]) == pytest.approx(np.ones(3))
    assert found.values["infomec.infoe"] == pytest.approx(1, abs=1e-4)
    assert found.values["infomec.infom"] > 0.95


def test_quantised_codes_of_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(n_bytes: int, device: torch.device, what: str) -> None:
        raise DisbenchError(f"{what} needs {n_bytes} bytes")

    monkeypatch.setattr(module, "require_memory", refuse)
    with pytest.raises(DisbenchError, match="one input for each of 1,200 values of codes needs 26880000 bytes"):
        infomec(CODES, FACTORS, quantised=True)


def test_dyga_gives_zeros_where_nothing_is_active() -> None:
    draw = Draw.of_rows(torch.from_numpy(FACTORS))
    variant = module.VARIANTS[0]
    found = variant.score(torch.ones(400, 2), draw, Dyga())
    assert found.values == {f"infomec@dyga.{name}": 0.0 for name in ("infom", "infoe", "infoc")}
    rare = torch.from_numpy(np.where(np.arange(400) < 8, 5.0, 0.0))[:, None]
    assert variant.score(rare.expand(400, 2), draw, Dyga()).values["infomec@dyga.infoe"] == 0.0
    usual = variant.score(torch.from_numpy(CODES), draw, Dyga()).values
    assert usual["infomec@dyga.infom"] == pytest.approx(infomec(CODES, FACTORS).values["infomec.infom"])
