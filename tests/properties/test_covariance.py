"""The scores that are made of covariances: Gaussian total and Wasserstein correlation, continuous SAP."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench import registry
from disbench.errors import DisbenchError
from disbench.metrics._covariance import deviations, singular_values
from disbench.metrics.gaussian_total_correlation import gaussian_total_correlation
from disbench.metrics.gaussian_wasserstein_correlation import gaussian_wasserstein_correlation
from disbench.metrics.sap_continuous import sap_continuous
from disbench.testing import check_score
from disbench.types import Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
FACTORS = SPACE.values(torch.arange(len(SPACE)))
COARSE = st.integers(-8, 8).map(lambda i: i / 4)  # ties, constant codes and duplicated codes come up often
TOTAL, WASSERSTEIN = "gaussian_total_correlation", "gaussian_wasserstein_correlation"


def random_codes(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", [TOTAL, WASSERSTEIN, "sap_continuous"])
@settings(max_examples=15, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(len(SPACE)), st.integers(1, 5)), elements=COARSE), st.integers(0, 2**31))
def test_invariant_in_range_or_undefined(name: str, table: np.ndarray, seed: int) -> None:
    metric = registry.metrics()[name]
    chosen = replace(metric.settings(), num_train=60)
    draw = metric.draw(SPACE, chosen, torch.Generator().manual_seed(seed))
    check_score(metric, torch.from_numpy(table), draw, chosen, seed)


def test_two_correlated_codes() -> None:
    x, y = np.array([1, -1, 1, -1.0]), np.array([1, 1, -1, -1.0])
    codes = np.stack([x, 0.6 * x + 0.8 * y], axis=1)  # equal variances, correlation 0.6
    assert gaussian_total_correlation(codes).values[TOTAL] == pytest.approx(-0.5 * math.log(1 - 0.36))
    variance = 4 / 3
    expected = 2 * variance * (2 - math.sqrt(1.6) - math.sqrt(0.4))
    found = gaussian_wasserstein_correlation(codes).values
    assert found == pytest.approx({WASSERSTEIN: expected, f"{WASSERSTEIN}.normed": expected / (2 * variance)})


def test_constant_codes_are_left_out() -> None:
    codes = random_codes(50, 3)
    beside = torch.cat([torch.full((50, 1), 0.1, dtype=torch.float64), codes], dim=1)
    assert gaussian_total_correlation(beside).values == pytest.approx(gaussian_total_correlation(codes).values)
    assert gaussian_wasserstein_correlation(beside).values == pytest.approx(
        gaussian_wasserstein_correlation(codes).values
    )
    constant = gaussian_wasserstein_correlation(beside[:, :1].repeat(1, 2))
    assert constant.values == {WASSERSTEIN: 0.0}
    assert constant.undefined[f"{WASSERSTEIN}.normed"].startswith("all codes are constant")
    assert gaussian_total_correlation(beside[:, :1].repeat(1, 2)).values == {TOTAL: 0.0}


def test_dependent_codes() -> None:
    codes = random_codes(50, 3)
    for more in (codes[:, :1], 3 * codes[:, :1], codes.sum(1, keepdim=True)):
        dependent = torch.cat([codes, more], dim=1)
        assert "linearly dependent" in gaussian_total_correlation(dependent).undefined[TOTAL]
        assert gaussian_wasserstein_correlation(dependent).values[WASSERSTEIN] > 0
    twice = gaussian_wasserstein_correlation(codes[:, [0, 0]]).values[f"{WASSERSTEIN}.normed"]
    assert twice == pytest.approx(2 - math.sqrt(2))


def test_total_correlation_keeps_its_digits_where_codes_nearly_repeat() -> None:
    x = torch.tensor([1, -1, 1, -1], dtype=torch.float64)
    y = torch.tensor([1, 1, -1, -1], dtype=torch.float64)
    angle = 1e-9
    codes = torch.stack([x, math.cos(angle) * x + math.sin(angle) * y], dim=1)
    assert gaussian_total_correlation(codes).values[TOTAL] == pytest.approx(-math.log(math.sin(angle)), abs=1e-6)


def test_one_code_and_few_samples() -> None:
    one = random_codes(50, 1)
    assert gaussian_total_correlation(one).values == {TOTAL: 0.0}
    assert gaussian_wasserstein_correlation(one).values == pytest.approx(
        {WASSERSTEIN: 0, f"{WASSERSTEIN}.normed": 0}, abs=1e-12
    )
    for metric in (gaussian_total_correlation, gaussian_wasserstein_correlation):
        assert all("two samples" in reason for reason in metric(one[:1]).undefined.values())
        assert not metric(one[:1]).values
    reason = gaussian_total_correlation(random_codes(4, 4)).undefined[TOTAL]
    assert reason == "the covariance of 4 codes needs more than as many samples; got 4"
    assert gaussian_wasserstein_correlation(random_codes(4, 6)).values[WASSERSTEIN] > 0


def test_huge_and_tiny_codes() -> None:
    codes = random_codes(50, 3)
    for scale in (2.0**57, 2.0**-200):
        assert gaussian_total_correlation(codes * scale).values == gaussian_total_correlation(codes).values
        small, large = (gaussian_wasserstein_correlation(c).values for c in (codes, codes * scale))
        assert small[f"{WASSERSTEIN}.normed"] == pytest.approx(large[f"{WASSERSTEIN}.normed"])
        rows = torch.arange(50)[:, None] % 7
        assert sap_continuous(codes * scale, rows).values == pytest.approx(sap_continuous(codes, rows).values)


def test_too_many_codes_are_an_error_that_names_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disbench.metrics._memory._available", lambda device: 1000)
    with pytest.raises(DisbenchError, match=r"the covariance of 30 codes needs .* GB of memory"):
        singular_values(deviations(random_codes(50, 30))[0])


def test_sap_continuous() -> None:
    codes = FACTORS.double()
    assert sap_continuous(codes, FACTORS).values["sap_continuous"] == pytest.approx(1)
    assert sap_continuous(codes.repeat(1, 2), FACTORS).values["sap_continuous"] == pytest.approx(0)
    assert sap_continuous(torch.full_like(codes, 0.1), FACTORS).values == {"sap_continuous": 0.0}
    assert "only one code" in sap_continuous(codes[:, :1], FACTORS).undefined["sap_continuous"]
    assert sap_continuous(codes, FACTORS[:, :1]).values["sap_continuous"] == pytest.approx(1)
    assert "takes a single value" in sap_continuous(codes, FACTORS * 0).undefined["sap_continuous"]
    assert "takes a single value" in sap_continuous(codes[:1], FACTORS[:1]).undefined["sap_continuous"]
