"""Modularity, MIG-sup, JEMMIG, DCIMIG, RMIG and the mutual information between codes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench import registry
from disbench.errors import UsageError
from disbench.metrics._information import equal_width_bins, mutual_information
from disbench.metrics.dcimig import dcimig
from disbench.metrics.jemmig import jemmig
from disbench.metrics.mig import mig
from disbench.metrics.mig_sup import mig_sup
from disbench.metrics.modularity import modularity
from disbench.metrics.mutual_information import mutual_information as between_codes
from disbench.metrics.rmig import rmig
from disbench.testing import check_score
from disbench.types import Draw, Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
FACTORS = SPACE.values(torch.arange(len(SPACE)))
COARSE = st.integers(-8, 8).map(lambda i: i / 4)  # ties, constant codes and duplicated codes come up often
SUPERVISED = (modularity, mig_sup, jemmig, dcimig, rmig)
names = pytest.mark.parametrize(
    "name",
    ["modularity", "mig_sup", "mig_sup@ubisoft", "jemmig", "jemmig@ubisoft", "dcimig", "rmig", "mutual_information"],
)


@names
@settings(max_examples=10, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(len(SPACE)), st.integers(1, 5)), elements=COARSE), st.integers(0, 2**31))
def test_invariant_in_range_or_undefined(name: str, table: np.ndarray, seed: int) -> None:
    metric = registry.metrics()[name]
    chosen = replace(metric.settings(), num_train=60, bins=5)
    draw = metric.draw(SPACE, chosen, torch.Generator().manual_seed(seed))
    check_score(metric, torch.from_numpy(table), draw, chosen, seed)


def test_the_factors_themselves_are_perfect() -> None:
    codes = FACTORS.float()
    assert modularity(codes, FACTORS).values == {"modularity": 1.0}
    for metric in (mig_sup, dcimig):
        assert metric(codes, FACTORS, bins=4).values[metric.__name__] == pytest.approx(1)
    assert rmig(codes, FACTORS, bins=4).values["rmig"] == pytest.approx(1)
    assert jemmig(codes, FACTORS, bins=4).values["jemmig"] == pytest.approx(0, abs=1e-12)
    assert between_codes(codes, bins=4).values == {"mutual_information": 0.0}


def test_rmig_with_bins_of_mig_is_mig() -> None:
    codes = torch.randn(len(SPACE), 4, generator=torch.Generator().manual_seed(0))
    assert rmig(codes, FACTORS, bins=6).values["rmig"] == mig(codes, FACTORS, bins=6).values["mig"]


def test_variants_of_ubisoft() -> None:
    codes, draw = torch.randn(len(SPACE), 4, generator=torch.Generator().manual_seed(0)), Draw.of_rows(FACTORS)
    ours = registry.metrics()["jemmig@ubisoft"]
    theirs = ours.score(codes, draw, ours.settings(bins=6)).values["jemmig@ubisoft"]
    assert theirs == pytest.approx(1 - jemmig(codes, FACTORS, bins=6).values["jemmig"])
    assert (ours.values[0].direction, registry.metrics()["jemmig"].values[0].direction) == ("higher", "lower")
    by_code = mig_sup(codes, FACTORS, bins=6, unit="code").values["mig_sup"]
    ours = registry.metrics()["mig_sup@ubisoft"]
    assert ours.score(codes, draw, ours.settings(bins=6)).values["mig_sup@ubisoft"] == by_code
    with pytest.raises(UsageError, match=r"mig_sup\.unit is factor or code; got 'bits'"):
        mig_sup(codes, FACTORS, unit="bits")


@pytest.mark.parametrize("metric", SUPERVISED)
def test_undefined(metric) -> None:
    name, codes = metric.__name__, torch.randn(len(SPACE), 3, generator=torch.Generator().manual_seed(0))
    assert "at least 25 samples; got 24" in metric(codes, FACTORS, bins=25).undefined[name]
    single = torch.cat([FACTORS, torch.zeros(len(SPACE), 1, dtype=torch.int64)], dim=1)
    assert metric(codes, single, bins=4).undefined[name].startswith("factor '3' takes a single value here")


@pytest.mark.parametrize("metric", [modularity, mig_sup, dcimig])
def test_one_factor_is_undefined_and_one_code_is_not(metric) -> None:
    name, codes = metric.__name__, FACTORS[:, :1].float()
    assert "there is only one factor" in metric(codes, FACTORS[:, :1], bins=3).undefined[name]
    assert metric(codes, FACTORS, bins=3).values[name] == pytest.approx(
        math.log(3) / math.log(24) if name == "dcimig" else 1
    )


@pytest.mark.parametrize("metric", [jemmig, rmig])
def test_one_code_is_undefined_and_one_factor_is_not(metric) -> None:
    name, codes = metric.__name__, FACTORS.float()
    assert "there is only one code" in metric(codes[:, :1], FACTORS, bins=3).undefined[name]
    assert metric(codes, FACTORS[:, :1], bins=3).values[name] == pytest.approx(0 if name == "jemmig" else 1, abs=1e-12)


def test_constant_codes() -> None:
    constant = torch.full((len(SPACE), 3), 0.1)
    for metric in (modularity, mig_sup, dcimig, rmig):
        assert metric(constant, FACTORS, bins=4).values == {metric.__name__: 0.0}
    assert mig_sup(constant, FACTORS, bins=4, unit="code").values == {"mig_sup": 0.0}
    entropy = np.log(SPACE.sizes)
    expected = (entropy / (entropy + math.log(4))).mean()
    assert jemmig(constant, FACTORS, bins=4).values["jemmig"] == pytest.approx(expected)
    assert between_codes(constant, bins=4).values == {"mutual_information": 0.0}
    beside = torch.cat([FACTORS.float(), constant[:, :1]], dim=1)
    assert modularity(beside, FACTORS, bins=4).values["modularity"] == pytest.approx(3 / 4)
    assert mig_sup(beside, FACTORS, bins=4).values["mig_sup"] == pytest.approx(3 / 4)


def test_duplicated_codes() -> None:
    codes = FACTORS.float().repeat(1, 2)
    assert modularity(codes, FACTORS, bins=4).values["modularity"] == pytest.approx(1)
    assert mig_sup(codes, FACTORS, bins=4).values["mig_sup"] == pytest.approx(1)
    assert dcimig(codes, FACTORS, bins=4).values["dcimig"] == pytest.approx(1)
    assert rmig(codes, FACTORS, bins=4).values["rmig"] == pytest.approx(0, abs=1e-12)
    entropy = np.log(SPACE.sizes)
    expected = (entropy / (entropy + math.log(4))).mean()
    assert jemmig(codes, FACTORS, bins=4).values["jemmig"] == pytest.approx(expected)
    pairs_alike = entropy.sum() * 2 / 30
    assert between_codes(codes, bins=4).values["mutual_information"] == pytest.approx(pairs_alike)


def test_jemmig_takes_the_smallest_code_of_a_tie() -> None:
    """Both codes tell the first factor; the second code tells the second factor as well."""
    codes = torch.stack([FACTORS[:, 0], 2 * FACTORS[:, 0] + FACTORS[:, 1]], dim=1).float()
    found = [jemmig(codes[:, order], FACTORS[:, :2], bins=6) for order in ([0, 1], [1, 0])]
    assert found[0].details["joint_entropy"] == found[1].details["joint_entropy"]
    assert found[0].details["joint_entropy"][0] == pytest.approx(math.log(3))


@pytest.mark.parametrize("metric", SUPERVISED)
def test_huge_and_tiny_codes(metric) -> None:
    name, codes = metric.__name__, torch.randn(len(SPACE), 3, generator=torch.Generator().manual_seed(0)).double()
    expected = metric(codes, FACTORS, bins=4).values[name]
    for scale in (2.0**58, 2.0**-100):
        assert metric(codes * scale, FACTORS, bins=4).values[name] == pytest.approx(expected, abs=1e-12)


def test_information_of_what_is_independent_is_exactly_zero() -> None:
    codes = torch.stack([FACTORS[:, 0].float(), torch.full((len(SPACE),), 0.1)], dim=1)
    found = mutual_information(equal_width_bins(codes, 3), FACTORS, 3)
    assert (found[0, 1:] == 0).all()
    assert (found[1] == 0).all()


def test_information_between_codes_is_undefined() -> None:
    codes = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    assert "only one code" in between_codes(codes[:, :1], bins=3).undefined["mutual_information"]
    assert "at least 20 samples; got 10" in between_codes(codes).undefined["mutual_information"]
