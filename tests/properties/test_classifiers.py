"""The undefined and the documented cases of the metrics that fit linear classifiers or trees."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from disbench import score_codes
from disbench.errors import DisbenchError, UsageError
from disbench.metrics import _memory
from disbench.metrics import beta_vae as beta_vae_module
from disbench.metrics.beta_vae import beta_vae
from disbench.metrics.downstream import downstream
from disbench.metrics.explicitness import explicitness
from disbench.metrics.med import Top1, med
from disbench.metrics.sap import Settings, sap
from disbench.types import Factor, FactorSpace, Score
from tests.oracles.representations import SIZES, table

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
GRID = SPACE.values(torch.arange(len(SPACE)))


def given(seed: int = 0, n: int = 300) -> dict[str, Tensor]:
    generator = Generator().manual_seed(seed)
    found = {}
    for prefix in ("", "test_"):
        factors = SPACE.draw(n, generator)
        noise = 0.3 * torch.randn(n, 5, generator=generator)
        found |= {f"{prefix}codes": torch.cat([factors, factors[:, :2]], dim=1) + noise, f"{prefix}factors": factors}
    return found


def scored(function, rows: dict[str, Tensor], **changes: Tensor | None) -> Score:
    options = {"stages": 2} if function is downstream else {}
    return function(**(rows | changes), **options)


SAMPLED = pytest.mark.parametrize("function", [sap, explicitness, med, downstream])


@SAMPLED
def test_a_single_valued_factor_is_undefined(function) -> None:
    rows = given()
    rows["factors"][:, 1] = 1
    found = scored(function, rows)
    assert not found.values
    for name, reason in found.undefined.items():
        assert "factor '1' takes a single value" in reason or "it takes" in reason, name


@SAMPLED
def test_without_test_samples(function) -> None:
    rows = given()
    found = scored(function, {"codes": rows["codes"], "factors": rows["factors"]})
    assert set(found.values) <= {"explicitness.train", "med.disentanglement", "med.completeness"}
    assert all("none were given" in reason for reason in found.undefined.values())


@SAMPLED
def test_a_class_that_only_the_test_samples_have(function) -> None:
    rows = given()
    rows["factors"][rows["factors"][:, 2] == 3, 2] = 0
    assert scored(function, rows).values


@SAMPLED
def test_one_factor_and_one_code(function) -> None:
    rows = {name: array[:, :1] for name, array in given().items()}
    found = scored(function, rows)
    expected = {"sap", "med.disentanglement", "med.completeness"}
    assert {name for name, reason in found.undefined.items() if "only one" in reason} == {
        name for name in expected if name.startswith(function.__name__)
    }


@SAMPLED
@pytest.mark.parametrize("factor", [1e17, 1e-30])
def test_codes_of_any_size(function, factor: float) -> None:
    rows = given()
    large = {name: rows[name] * factor for name in ("codes", "test_codes")}
    found = scored(function, rows, **large)
    assert found.values
    assert all(np.isfinite(list(found.values.values())))
    if function in (explicitness, med):
        assert dict(found.values) == pytest.approx(dict(scored(function, rows).values), abs=1e-6)


@SAMPLED
def test_duplicated_codes(function) -> None:
    rows = given()
    twice = {name: rows[name].repeat(1, 2) for name in ("codes", "test_codes")}
    found = scored(function, rows, **twice)
    assert found.values
    if function is sap:
        assert found.values["sap"] == 0


@SAMPLED
def test_constant_codes(function) -> None:
    rows = given()
    constant = {name: torch.full_like(rows[name], 2.5) for name in ("codes", "test_codes")}
    found = dict(scored(function, rows, **constant).values)
    counts = [np.bincount(rows["factors"][:, k]) for k in range(3)]
    largest = np.mean([(rows["test_factors"][:, k].numpy() == counts[k].argmax()).mean() for k in range(3)])
    if function is sap:
        assert found == {"sap": 0}
    if function is explicitness:
        assert found == pytest.approx({"explicitness": 0.5, "explicitness.train": 0.5})
    if function is med:
        assert found == pytest.approx(
            {"med.disentanglement": 0, "med.completeness": 0, "med.informativeness": largest}, abs=1e-12
        )
    if function is downstream:
        few = [np.bincount(rows["factors"][:100, k]).argmax() for k in range(3)]
        share = np.mean([(rows["test_factors"][:, k] == few[k]).double().mean() for k in range(3)])
        assert found["downstream.logistic_100"] == pytest.approx(share)


@pytest.mark.parametrize("function", [explicitness, med, downstream])
def test_more_codes_than_memory_holds(function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_available", lambda device: 1000)
    with pytest.raises(DisbenchError, match="a regression on 5 codes needs"):
        scored(function, given())


def test_explicitness_leaves_constant_codes_out() -> None:
    rows = given()
    wider = {name: torch.cat([rows[name], torch.ones(300, 2)], dim=1) for name in ("codes", "test_codes")}
    expected = dict(explicitness(**rows).values)
    assert dict(explicitness(**(rows | wider)).values) == pytest.approx(expected, abs=1e-9)


def test_explicitness_of_a_class_that_the_test_samples_lack() -> None:
    rows = given()
    kept = rows["test_factors"][:, 2] != 3
    rows |= {name: rows[name][kept] for name in ("test_codes", "test_factors")}
    assert set(explicitness(**rows).values) == {"explicitness", "explicitness.train"}
    only = rows["test_factors"][:, 1] == 1
    rows |= {name: rows[name][only] for name in ("test_codes", "test_factors")}
    found = explicitness(**rows)
    assert set(found.values) == {"explicitness.train"}
    assert "no class of factor '1'" in found.undefined["explicitness"]


def test_sap_needs_a_penalty() -> None:
    with pytest.raises(UsageError, match=r"sap\.penalty must be above 0"):
        Settings(penalty=0.0)


def test_med_keeps_the_purest_codes() -> None:
    """Codes 0 to 2 hold one factor each; 3 and 4 are noisier copies of 0 and 1."""
    generator = Generator().manual_seed(0)
    factors = SPACE.draw(2000, generator)
    noise = torch.randn(2000, 5, generator=generator) * torch.tensor([0.1, 0.1, 0.1, 1, 1])
    codes = torch.cat([factors, factors[:, :2]], dim=1) + noise
    assert med(codes, factors, top_k=1).details["kept_codes"] == [0, 1, 2]
    assert med(codes, factors).details["kept_codes"] == [0, 1, 2, 3, 4]
    assert Top1().top_k == 1


def test_med_never_keeps_a_code_without_information() -> None:
    rows = given()
    codes = torch.cat([rows["codes"][:, :1], torch.ones(300, 1)], dim=1)
    found = med(codes, rows["factors"][:, 1:], top_k=1)
    assert 1 not in found.details["kept_codes"]


def test_med_with_fewer_samples_than_bins() -> None:
    found = med(given()["codes"][:10], given()["factors"][:10])
    assert "needs at least 20 samples; got 10" in found.undefined["med.completeness"]


def test_beta_vae_pairs_agree_in_the_shared_factor_alone() -> None:
    chosen = beta_vae_module.Settings(num_train=200, num_eval=10, batch_size=30)
    draw = beta_vae_module.draw(SPACE, chosen, Generator().manual_seed(0))
    values = SPACE.values(draw.indices["train"])
    agrees = (values[:, 0] == values[:, 1]).all(1)
    assert (agrees.long().argmax(1) == draw.labels["train"]).all()
    assert agrees.sum() == 200
    varies = (values[:, 0] != values[:, 0, :1]).any(1)
    assert varies.all()  # the shared factor, too, differs from pair to pair


def test_beta_vae_without_two_factors_that_vary() -> None:
    factors = torch.stack([torch.arange(6), torch.zeros(6, dtype=torch.int64)], dim=1)
    found = beta_vae(torch.randn(6, 2), factors, num_train=20, num_eval=10)
    assert "fewer than two factors that vary" in found.undefined["beta_vae"]


def test_beta_vae_needs_the_whole_grid() -> None:
    with pytest.raises(DisbenchError, match="the BetaVAE score holds factors fixed"):
        beta_vae(torch.randn(23, 2), GRID[1:])


def test_beta_vae_of_constant_huge_and_separating_codes() -> None:
    sizes = {"num_train": 600, "num_eval": 300}
    assert beta_vae(torch.ones(24, 3), GRID, **sizes).values["beta_vae"] == pytest.approx(1 / 3, abs=0.1)
    for scale in (1.0, 1e17):
        assert beta_vae(GRID.double() * scale, GRID, **sizes).values["beta_vae"] == 1.0


def test_beta_vae_never_shares_a_single_valued_factor() -> None:
    factors = torch.cat([torch.zeros(24, 1, dtype=torch.int64), GRID], dim=1)
    assert beta_vae(GRID.float(), factors, num_train=300, num_eval=200).values["beta_vae"] == 1.0


def test_downstream_takes_as_many_labels_as_there_are() -> None:
    found = downstream(**given(n=120), stages=2)
    assert set(found.values) == {"downstream.logistic_100", "downstream.trees_100"}
    assert found.undefined["downstream.trees_1000"] == "it takes 1,000 labelled samples; got 120"
    assert found.undefined["downstream.logistic_efficiency"] == "it takes 10,000 labelled samples; got 120"
    first = {name: array[:100] if "test" not in name else array for name, array in given(n=120).items()}
    assert dict(downstream(**first, stages=2).values) == dict(found.values)


def test_downstream_on_the_draws_of_the_reference() -> None:
    """As disentanglement_lib 1.5 drew 10, 100 and 1,000 samples, each with 5,000 for testing, and scored the last."""
    sizes, rng, codes = SIZES["shapes3d"], np.random.RandomState(0), table("shapes3d", "axis_dead")

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        batches = [np.stack([rng.randint(s, size=min(16, n - i)) for s in sizes], axis=1) for i in range(0, n, 16)]
        factors = np.concatenate(batches)
        return codes[np.ravel_multi_index(tuple(factors.T), sizes)], factors

    for n in (10, 100, 1_000):
        parts = drawn(n), drawn(5_000)
    found = downstream(*parts[0], test_codes=parts[1][0], test_factors=parts[1][1], stages=1)
    expected = [0.6142, 0.653, 0.624, 0.742, 0.977, 0.455]
    assert found.details["logistic_accuracy"]["1000"] == pytest.approx(expected, abs=3e-3)
    assert found.values["downstream.logistic_1000"] == pytest.approx(np.mean(expected), abs=2e-3)


def test_all_are_scored_from_given_rows() -> None:
    report = score_codes(**given(), metrics="sap,explicitness,med,med@top1", settings={})
    assert set(report.scores) >= {"sap", "explicitness", "med.completeness", "med@top1.disentanglement"}
