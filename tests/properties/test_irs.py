"""Interventional robustness."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench.errors import UsageError
from disbench.metrics import irs as module
from disbench.metrics.irs import irs
from disbench.testing import check_score
from disbench.types import Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
FACTORS = SPACE.values(torch.arange(len(SPACE)))
COARSE = st.integers(-8, 8).map(lambda i: i / 4)  # ties, constant codes and duplicated codes come up often


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(len(SPACE)), st.integers(1, 5)), elements=COARSE), st.integers(0, 2**31))
def test_invariant_and_in_range(table: np.ndarray, seed: int) -> None:
    chosen = module.Settings(num_train=60, bins=3)
    draw = module.draw(SPACE, chosen, torch.Generator().manual_seed(seed))
    check_score(module.METRIC, torch.from_numpy(table), draw, chosen, seed)


def test_codes_that_follow_factors_and_codes_that_mix_them() -> None:
    assert irs(FACTORS.double(), FACTORS).values == {"irs": 1.0}
    # Held by a factor of two values, the sum of two such factors deviates by half of its largest deviation.
    pair = FactorSpace((Factor("a", 2), Factor("b", 2))).values(torch.arange(4))
    found = irs(pair.sum(1, keepdim=True).double(), pair, quantile=1)
    assert found.values["irs"] == pytest.approx(0.5)
    assert found.details["matrix"] == [[0.5, 0.5]]


def test_constant_codes_are_left_out() -> None:
    codes = torch.randn(len(SPACE), 2, generator=torch.Generator().manual_seed(0))
    constant = torch.full((len(SPACE), 1), 0.1)
    found = irs(torch.cat([constant, codes], dim=1), FACTORS)
    assert found.values == irs(codes, FACTORS).values
    assert found.details["codes"] == [1, 2]
    assert irs(constant, FACTORS).values == {"irs": 0.0}
    assert irs(codes[:1], FACTORS[:1]).values == {"irs": 0.0}


def test_a_single_valued_factor_is_one_group() -> None:
    codes = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    found = irs(codes, torch.zeros(4, 1), quantile=1)
    assert found.values == {"irs": 0.0}
    assert irs(codes, torch.zeros(4, 1), quantile=0).values["irs"] == pytest.approx(2 / 3)


def test_values_beyond_the_bins_are_merged() -> None:
    values = torch.arange(40)[:, None]
    assert irs(values.double(), values, bins=40).values == {"irs": 1.0}
    merged = irs(values.double(), values, bins=20, quantile=1).details["matrix"]
    assert merged[0][0] == pytest.approx(1 - 0.5 / 19.5)


def test_chunks_and_huge_codes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randn(len(SPACE), 5, generator=torch.Generator().manual_seed(0))
    whole = irs(codes, FACTORS).values["irs"]
    assert irs(codes * 2.0**57, FACTORS).values["irs"] == pytest.approx(whole)
    monkeypatch.setattr(module, "_MAX_PADDED", 100)
    assert irs(codes, FACTORS).values["irs"] == pytest.approx(whole, abs=1e-6)


def test_means_are_summed_as_numpy_sums_them() -> None:
    """In float32 the order of summation shows: torch's sum of these codes differs from numpy's."""
    generator = torch.Generator().manual_seed(0)
    codes = 100 + torch.rand(5_000, 2, generator=generator)
    one_group = module._means(codes[None], torch.tensor([5_000]))
    np.testing.assert_array_equal(one_group[0], codes.numpy().mean(axis=0))


def test_a_quantile_above_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"irs\.quantile must be at most 1; got 1\.5"):
        irs(FACTORS.float(), FACTORS, quantile=1.5)


@pytest.mark.parametrize("offset", [1e2, 1e5, 1e7])
def test_codes_far_from_zero_score_as_in_float64(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(4, (3_000, 2), generator=generator)
    codes = (factors + 0.5 * torch.randn(3_000, 2, generator=generator) + offset).float()
    assert irs(codes, factors).values["irs"] == pytest.approx(irs(codes.double(), factors).values["irs"], abs=1e-9)
