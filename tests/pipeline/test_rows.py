"""Codes and factors that exist already: no model, no images."""

import numpy as np
import pytest
import torch

from disbench import DisbenchError, UsageError, score_codes
from disbench.metrics import mig
from tests.conftest import TINY

Settings = dict[str, int]
FACTORS = TINY.values(torch.arange(len(TINY)))
CODES = FACTORS.float() + 0.1 * torch.randn(FACTORS.shape, generator=torch.Generator().manual_seed(0))


def test_score_codes_on_a_grid_in_numpy_and_torch() -> None:
    few: Settings = {"dci.stages": 3}
    torch_report = score_codes(CODES, FACTORS, test_codes=CODES, test_factors=FACTORS, settings=few)
    assert torch_report.complete
    assert torch_report.scores["factor_vae"] == 1.0
    numpy_report = score_codes(
        CODES.numpy(),
        FACTORS.numpy() * 7 - 3,
        test_codes=CODES.numpy(),
        test_factors=FACTORS.numpy() * 7 - 3,
        settings=few,
    )
    assert numpy_report.scores == torch_report.scores  # labels are numbered, whatever they are
    assert torch_report.record["key"]["protocol"]["name"] == "locatello2019+custom+rows"


def test_score_codes_without_test_rows_and_without_a_grid() -> None:
    report = score_codes(CODES[:100], FACTORS[:100], settings={"dci.stages": 2})
    assert report.values["dci.informativeness"].status == "undefined"
    assert "none were given" in report.values["dci.informativeness"].reason
    assert report.values["factor_vae"].status == "not applicable"
    assert not report.values["factor_vae"].failed
    assert report.scores["factor_vae"] is None
    asked = score_codes(CODES[:100], FACTORS[:100], metrics="factor_vae")
    assert asked.values["factor_vae"].failed
    assert not asked.complete
    fine = score_codes(CODES[:100], FACTORS[:100], metrics="mig,dci.completeness", settings={"dci.stages": 2})
    assert fine.complete


def test_sizes_of_samples_do_not_apply_to_given_rows() -> None:
    report = score_codes(CODES, FACTORS, metrics="mig,factor_vae")
    assert report.record["key"]["metrics"]["mig"]["settings"] == {"bins": 20}
    assert report.record["key"]["metrics"]["factor_vae"]["settings"]["num_train"] == 10_000  # drawn from the grid
    with pytest.raises(UsageError, match=r"mig\.num_train sizes a sample"):
        score_codes(CODES, FACTORS, settings={"mig.num_train": 7})


def test_a_class_that_only_test_rows_have_leaves_the_grid_a_grid() -> None:
    train = FACTORS[:, 0] != 1
    report = score_codes(CODES[train], FACTORS[train], test_codes=CODES, test_factors=FACTORS, metrics="factor_vae")
    assert report.scores["factor_vae"] == 1.0


def test_arrays_of_other_makers() -> None:
    codes, factors = CODES.numpy(), FACTORS.numpy()
    expected = score_codes(codes, factors, metrics="mig").scores
    for other in (codes.astype(">f4"), codes.astype(np.longdouble), CODES.clone().requires_grad_(), codes.tolist()):
        assert score_codes(other, factors.astype(">i2"), metrics="mig").scores == pytest.approx(expected)
    assert score_codes(codes, FACTORS.float().requires_grad_(), metrics="mig").scores == expected
    assert score_codes(codes, factors, metrics="dci", eval_seed=5_000_000_000, settings={"dci.stages": 1}).scores


def test_score_codes_uses_rows_as_given() -> None:
    once = score_codes(CODES, FACTORS, metrics="mig").scores["mig"]
    doubled = score_codes(torch.cat([CODES, CODES]), torch.cat([FACTORS, FACTORS]), metrics="mig").scores["mig"]
    assert doubled == pytest.approx(once)
    assert score_codes(CODES[::2], FACTORS[::2], metrics="mig").scores["mig"] != once


UNDEFINED = {
    "single-valued factor": (CODES, FACTORS * torch.tensor([1, 0, 1]), {"mig", "dci.disentanglement"}, "single value"),
    "one code": (CODES[:, :1], FACTORS, {"mig", "dci.completeness"}, "one code"),
    "one factor": (CODES, FACTORS[:, :1], {"dci.disentanglement", "factor_vae"}, "one factor|two factors"),
    "one sample": (CODES[:1], FACTORS[:1], {"mig", "dci.disentanglement"}, "at least"),
    "few samples": (CODES[:19], FACTORS[:19], {"mig"}, "at least 20 samples; got 19"),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_undefined_values_say_why_and_the_run_goes_on(name: str) -> None:
    codes, factors, names, reason = UNDEFINED[name]
    report = score_codes(codes, factors, settings={"dci.stages": 2})
    for value in names:
        assert report.values[value].status == "undefined", value
        assert report.scores[value] is None
    assert any(reason_matches(report.values[value].reason, reason) for value in names)
    assert "NaN" not in report.to_json()


def reason_matches(text: str, pattern: str) -> bool:
    return any(option in text for option in pattern.split("|"))


def test_constant_codes_have_documented_values() -> None:
    report = score_codes(
        torch.zeros_like(CODES), FACTORS, test_codes=torch.zeros_like(CODES), test_factors=FACTORS,
        metrics="factor_vae,mig,dci", settings={"dci.stages": 2},
    )  # fmt: skip
    scores = dict(report.scores)
    for name in ("dci.informativeness", "dci.informativeness_train"):
        assert scores.pop(name) == pytest.approx((1 / 4 + 1 / 8 + 1 / 8) / 3)
    assert list(scores.values()) == pytest.approx([0.0] * 4)


BAD_ROWS = {
    "large": (CODES.double() * 1e39, FACTORS, None, None, "rescale them"),
    "infinite factor": (CODES, FACTORS.float() / 0, None, None, "whole numbers"),
    "nan": (CODES / 0, FACTORS, None, None, "must be finite"),
    "one dimension": (CODES[:, 0], FACTORS, None, None, r"\(n, d\)"),
    "rows differ": (CODES[:5], FACTORS, None, None, r"\(5, k\)"),
    "fractions": (CODES, FACTORS / 7, None, None, "whole numbers"),
    "text": (CODES, np.full(FACTORS.shape, "red"), None, None, "must hold numbers"),
    "ragged": ([[1.0], [2.0, 3.0]], FACTORS, None, None, "no array"),
    "half a test set": (CODES, FACTORS, CODES, None, "come together"),
    "other codes": (CODES, FACTORS, CODES[:, :2], FACTORS, "the same codes"),
    "empty": (CODES[:0], FACTORS[:0], None, None, "at least one row"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_end_with_a_sentence(name: str) -> None:
    codes, factors, test_codes, test_factors, sentence = BAD_ROWS[name]
    with pytest.raises(DisbenchError, match=sentence):
        score_codes(codes, factors, test_codes=test_codes, test_factors=test_factors)


def test_plain_functions_check_their_settings() -> None:
    with pytest.raises(UsageError, match=r"mig\.bins must be at least 1"):
        mig.mig(CODES, FACTORS, bins=0)
