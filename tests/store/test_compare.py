"""Two records side by side: what is compared, how, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import disbench
from disbench.comparison import Difference, _with_verdicts, compare_files
from disbench.errors import DisbenchError, UsageError
from disbench.records import RecordFile
from disbench.report import Report
from tests.conftest import TinyDataset, perfect_codes

SETTINGS = {"mig.num_train": 200, "factor_vae.num_variance_estimate": 200, "factor_vae.num_train": 60}
SETTINGS["factor_vae.num_eval"] = 30


def random_weights(seed: int) -> Callable[[Tensor], Tensor]:
    weights = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))
    return lambda images: images.flatten(1) @ weights


def scored(model: Callable[[Tensor], Tensor], **options: Any) -> Report:
    settings = SETTINGS | options.pop("settings", {})
    options = {"metrics": "mig,factor_vae", "repeats": 4} | options
    settings = {path: value for path, value in settings.items() if path.split(".")[0] in options["metrics"]}
    return disbench.evaluate(model, options.pop("dataset", TinyDataset()), settings=settings, **options)


@pytest.fixture(scope="module")
def first() -> Report:
    return scored(random_weights(1))


@pytest.fixture(scope="module")
def second() -> Report:
    return scored(random_weights(2))


def test_differences_on_the_same_draws_are_paired(first: Report, second: Report) -> None:
    found = disbench.compare(first, second.record)
    assert found.paired
    assert found.complete
    assert set(found.values) == {"mig", "factor_vae"}
    for name, value in found.values.items():
        a, b = (report.record["scores"][name]["repeats"] for report in (first, second))
        expected = stats.ttest_rel(a, b)
        assert (value.a, value.b) == pytest.approx((np.mean(a), np.mean(b)))
        assert value.difference == pytest.approx(np.mean(a) - np.mean(b))
        assert value.interval == pytest.approx(tuple(expected.confidence_interval()))
    alone = disbench.compare(first, second, metrics=["mig"]).values["mig"]
    a, b = (report.record["scores"]["mig"]["repeats"] for report in (first, second))
    assert alone.p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_other_eval_seeds_make_it_welch(first: Report) -> None:
    other = scored(random_weights(2), eval_seed=10, repeats=3)
    found = disbench.compare(first, other, metrics=["mig"])
    assert not found.paired
    a, b = (report.record["scores"]["mig"]["repeats"] for report in (first, other))
    expected = stats.ttest_ind(a, b, equal_var=False)
    value = found.values["mig"]
    assert value.p == pytest.approx(expected.pvalue)
    assert value.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert "Welch" in str(found)


def test_verdicts(first: Report) -> None:
    perfect = scored(perfect_codes)
    found = disbench.compare(perfect, first)
    assert {v.verdict for v in found.values.values()} == {"larger than the noise"}
    same = disbench.compare(first, first)
    assert {(v.verdict, v.difference, v.p) for v in same.values.values()} == {("within the noise", 0.0, 1.0)}
    text = str(found)
    for part in ("A - B", "paired", "larger than the noise", "not the spread over training seeds", "2 values (Holm)"):
        assert part in text


def test_a_difference_without_spread_counts_and_rounding_does_not(first: Report) -> None:
    def with_mig(values: list[float]) -> dict[str, Any]:
        entry = first.record["scores"]["mig"] | {"value": float(np.mean(values)), "repeats": values}
        return {**first.record, "scores": {"mig": entry}}

    constant = with_mig([0.5] * 4)
    assert disbench.compare(constant, with_mig([0.25] * 4)).values["mig"].verdict == "larger than the noise"
    assert disbench.compare(constant, with_mig([0.5 + 1e-9] * 4)).values["mig"].verdict == "within the noise"


def test_given_rows_that_are_never_drawn_anew_have_no_noise() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 3, (200, 2))
    a, b = (
        disbench.score_codes(factors + noise * rng.standard_normal((200, 2)), factors, metrics="mig", repeats=3)
        for noise in (0.1, 0.5)
    )
    found = disbench.compare(a, b).values["mig"]
    assert found.verdict == "not compared"
    assert "no noise to compare with" in found.reason


def test_holm() -> None:
    found = _with_verdicts({str(i): Difference(str(i), 1, 0, 1, (0, 2), p) for i, p in enumerate((0.04, 0.01, 0.03))})
    assert [v.p for v in found.values()] == pytest.approx([0.06, 0.03, 0.06])
    assert [v.verdict for v in found.values()] == ["within the noise", "larger than the noise", "within the noise"]


def test_a_single_seed_has_no_verdict(first: Report) -> None:
    found = disbench.compare(first, scored(random_weights(2), repeats=1))
    assert not found.complete
    assert all(v.verdict == "not compared" and "--repeats" in v.reason for v in found.values.values())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"settings": {"mig.bins": 30}}, "mig.bins 20 and 30"),
        ({"settings": {"mig.num_train": 300}}, "mig.num_train 200 and 300"),
        ({"protocol": "quick"}, "protocol locatello2019+custom and quick+custom"),
    ],
)
def test_other_numbers_are_refused(first: Report, options: dict[str, Any], reason: str) -> None:
    found = disbench.compare(first, scored(random_weights(2), **options), metrics=["mig"])
    assert found.values["mig"].verdict == "not compared"
    assert reason in found.values["mig"].reason
    assert f"mig is not compared: {found.values['mig'].reason}." in str(found)


def test_other_data_is_refused(first: Report) -> None:
    other = TinyDataset()
    other.content_hash = "1" * 64
    reason = disbench.compare(first, scored(random_weights(2), dataset=other)).values["mig"].reason
    assert "content of the data set 000000000000 and 111111111111" in reason


def test_a_refusal_is_per_value(first: Report) -> None:
    other = scored(random_weights(2), settings={"mig.bins": 30})
    found = disbench.compare(first, other)
    assert [bool(v.reason) for v in found.values.values()] == [False, True]


def test_what_is_missing_or_undefined_is_said(first: Report) -> None:
    only = scored(random_weights(2), metrics="mig")
    assert disbench.compare(first, only).values["factor_vae"].reason == "B has no such value"
    one_code = scored(lambda images: images.flatten(1)[:, 30:31])
    reason = disbench.compare(first, one_code).values["mig"].reason
    assert reason.startswith("undefined in B, MIG compares the two most informative codes")


def test_names_are_checked(first: Report) -> None:
    with pytest.raises(UsageError, match="did you mean 'mig'"):
        disbench.compare(first, first, metrics=["mgi"])
    with pytest.raises(DisbenchError, match="schema"):
        disbench.compare({}, first)


def test_json(first: Report, second: Report) -> None:
    found = json.loads(disbench.compare(first, second).to_json())
    assert found["schema"] == "disbench.comparison/1"
    assert found["paired"] is True
    assert found["values"]["mig"]["verdict"] in ("larger than the noise", "within the noise")


def named(report: Report, name: str) -> dict[str, Any]:
    return {**report.record, "model": {**report.record["model"], "name": name}}


def write(path: Path, *written: Any) -> Path:
    with RecordFile(path) as file:
        for record in written:
            file.append(record)
    return path


def test_files_pair_equal_identities_and_say_what_was_passed_over(
    first: Report, second: Report, tmp_path: Path
) -> None:
    only = scored(random_weights(1), metrics="mig")
    a = write(tmp_path / "a.jsonl", named(second, "old"), only.record, named(first, "new"))
    b = write(tmp_path / "b.jsonl", named(second, "other"))
    (found,), remarks = compare_files(a, b)
    assert (found.a["model"], found.b["model"]) == ("new", "other")
    assert "2 records of the same numbers; the last is compared, new on tiny" in remarks[0]
    assert "1 more that the other file has no match for" in remarks[1]
    (found,), remarks = compare_files(a, a, models=["old", "new"])
    assert (found.a["model"], found.b["model"], remarks) == ("old", "new", [])
    both, _ = compare_files(a, a)
    assert len(both) == 2
    both, _ = compare_files(a, a, metrics=["mig", "factor_vae"])
    assert [set(c.values) for c in both] == [{"mig"}, {"mig", "factor_vae"}]
    (found,), _ = compare_files(a, b, metrics=["factor_vae"])
    assert set(found.values) == {"factor_vae"}


def test_files_without_a_common_identity_give_their_last(first: Report, tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", first.record)
    b = write(tmp_path / "b.jsonl", scored(random_weights(2), metrics="mig").record)
    (found,), remarks = compare_files(a, b)
    assert remarks == []
    assert not found.values["mig"].reason
    assert found.values["factor_vae"].reason == "B has no such value"


def test_files_that_lack_what_was_named(first: Report, tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", named(first, "encode"))
    with pytest.raises(UsageError, match="did you mean 'encode'"):
        compare_files(a, a, models=["encod"])
    with pytest.raises(UsageError, match="did you mean 'mig'"):
        compare_files(a, a, metrics=["mgi"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DisbenchError, match="has no records"):
        compare_files(a, tmp_path / "empty.jsonl")
