"""TAD: ranks, areas, label statistics and draws, beside plain loops and published figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import mutual_info_score, roc_auc_score
from torch import Generator

from disbench.errors import DisbenchError, NotApplicable, UsageError
from disbench.metrics import _attributes, _ranking, tad
from disbench.metrics._attributes import detection_areas, entropy_reductions
from disbench.metrics._ranking import auroc_of_pairs, mid_ranks
from disbench.types import Draw, Factor, FactorSpace, Labels
from tests.oracles import tad as plain

METRICS = [tad.METRIC, *tad.VARIANTS]
KINDS = ("normal", "heavy ties", "binary", "rounded", "float64", "both zeros")


def binary(names: str, table: torch.Tensor) -> Labels:
    return Labels(tuple(Factor(name, 2) for name in names), table)


def table(kind: str, rng: np.random.Generator, n: int, n_codes: int = 6) -> np.ndarray:
    codes = rng.standard_normal((n, n_codes))
    codes[:, 1] = 2.5
    if kind == "heavy ties":
        codes = np.round(codes)
    elif kind == "binary":
        codes = (codes > 0.3).astype(float)
    elif kind == "rounded":
        codes = np.round(codes * 20) / 20
    elif kind == "both zeros":
        codes = np.where(codes > 0.5, -0.0, np.where(codes > -0.5, 0.0, codes))
    return codes if kind == "float64" else codes.astype(np.float32)


def attributes(rng: np.random.Generator, n: int) -> np.ndarray:
    """0 or 1 (n, 6): a common one and almost the same, one in two, a rare one, one with a single positive, another."""
    common = rng.random(n) < 0.4
    same = common ^ (rng.random(n) < 0.08)
    alone = np.arange(n) == n // 2
    return np.stack([common, same, rng.random(n) < 0.5, rng.random(n) < 0.06, alone, rng.random(n) < 0.3], 1).astype(
        int
    )


def codes_of(labels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A code for each attribute, with noise, and two of noise."""
    noise = rng.standard_normal((len(labels), labels.shape[1] + 2))
    noise[:, : labels.shape[1]] += strength * labels
    return noise.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_areas_are_those_of_scikit_learn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ranking, "_MAX_CELLS", 1_000)
    rng = np.random.default_rng(0)
    for n in (7, 200, 600):
        codes, labels = table(kind, rng, n), attributes(rng, n)
        found = auroc_of_pairs(torch.from_numpy(codes), torch.from_numpy(labels == 1)).numpy()
        for a, label in enumerate(labels.T):
            if len(set(label)) == 1:
                assert np.isnan(found[:, a]).all()
                continue
            expected = [roc_auc_score(label, code) for code in codes.T]
            assert found[:, a] == pytest.approx(expected, abs=1e-10, rel=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranks_of_awkward_numbers(dtype: type) -> None:
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1e-40, -1e-40, 1e18, -1e18, 1.0, -1.0, 1.0, np.finfo(dtype).tiny], dtype=dtype)
    values = rng.permutation(np.concatenate([special, rng.standard_normal(50).astype(dtype), special]))
    assert mid_ranks(torch.from_numpy(values)).tolist() == rankdata(values).tolist()
    assert mid_ranks(torch.zeros(1)).tolist() == [1.0]
    assert mid_ranks(torch.from_numpy(values[::2])).tolist() == rankdata(values[::2]).tolist()


def test_reductions_are_shares_of_entropy() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 300)
    labels[:, 5] = 1
    found = entropy_reductions(torch.from_numpy(labels)).numpy()
    for a in range(6):
        for b in range(6):
            expected = 0.0 if a == b else plain.reduction_by(labels[:, a], labels[:, b])
            assert found[a, b] == pytest.approx(expected, abs=1e-12), (a, b)
    nats = mutual_info_score(labels[:, 0], labels[:, 1])
    share = labels[:, 0].mean()
    assert found[0, 1] == pytest.approx(nats / -(share * np.log(share) + (1 - share) * np.log(1 - share)))
    assert found[0, 1] > 0.3
    combinations = FactorSpace((Factor("a", 2), Factor("b", 2), Factor("c", 2))).values(torch.arange(8))
    assert not entropy_reductions(combinations).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thresholds", [2, 11, 101])
def test_sweeps_are_those_of_loops(kind: str, thresholds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attributes, "_MAX_DETECTIONS", 3 * 60 * thresholds)
    rng = np.random.default_rng(thresholds)
    codes, labels = table(kind, rng, 60), attributes(rng, 60)
    for min_range in (0.0, 0.2, 4.0):
        found = detection_areas(torch.from_numpy(codes), torch.from_numpy(labels), thresholds, min_range)
        settings = tad.Settings(auroc="sweep", thresholds=thresholds, min_range=min_range)
        for a in (a for a in range(6) if len(set(labels[:, a])) == 2):
            expected = [plain.area(code, labels[:, a], settings) for code in codes.T]
            assert found[:, a].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_score_is_that_of_loops(metric: tad.Metric) -> None:
    rng = np.random.default_rng(0)
    captured = set()
    for n, strength, from_rows in ((40, 2.0, True), (120, 1.2, False), (120, 3.0, False)):
        labels = attributes(rng, n)
        codes = codes_of(labels, rng, strength)
        tokens = codes[:, :2, None] * rng.standard_normal(2) + 0.5 * rng.standard_normal((n, 2, 2))
        settings = replace(metric.settings(), num_train=n)
        draw = metric.draw(binary("abcdef", torch.from_numpy(labels)), settings, rows(n))
        draw = Draw.of_rows(torch.from_numpy(labels)) if from_rows else draw
        for given in (codes, np.round(codes[:, :5] * 2) / 2, tokens.astype(np.float32), 0.02 * codes[:, :3]):
            found = metric.score(torch.from_numpy(given), draw, settings).values
            expected = plain.tad(given, draw, settings)
            assert list(found.values()) == pytest.approx(list(expected.values()), abs=1e-9, rel=0)
            assert list(found) == [metric.name, f"{metric.name}.captured"]
            captured.add(found[f"{metric.name}.captured"])
    assert len(captured) > 2


def rows(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_variants_are_what_the_papers_ran() -> None:
    """Images, area, thresholds, range, tokens, folds; the filters and where eligibility comes from are alike."""
    found = {}
    for metric in tad.VARIANTS:
        chosen = metric.settings()
        assert (chosen.min_auroc, chosen.max_reduction, chosen.statistics) == (0.75, 0.2, "sample")
        sweep = (chosen.thresholds, chosen.min_range) if chosen.auroc == "sweep" else None
        assert sweep is not None or chosen.min_range == 0
        found[metric.name] = (chosen.num_train, sweep, chosen.tokens, chosen.folds)
    assert found == {
        "tad@nashae": (1_000, (101, 0.2), "flatten", 1),
        "tad@disdiff": (10_000, (11, 0.2), "flatten", 1),
        "tad@encdiff": (10_000, (11, 0.2), "flatten", 1),
        "tad@dyga": (10_000, (11, 0.2), "pca", 1),
        "tad@infodiffusion": (10_000, None, "flatten", 5),
    }


def test_the_filters_let_their_limits_pass() -> None:
    labels, codes = np.array([[0], [0], [1], [1]]), np.array([[0.0, 1.0], [2.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
    assert tad.tad(codes, labels).values == {"tad": 0.25, "tad.captured": 1.0}
    assert tad.tad(codes, labels, min_auroc=0.7500001).values == {"tad": 0.0, "tad.captured": 0.0}
    pair = np.concatenate([labels, [[0], [1], [0], [1]]], axis=1)
    assert tad.tad(codes, pair, max_reduction=0.0).values["tad.captured"] == 2
    same = np.repeat(labels, 2, axis=1)
    assert tad.tad(codes, same, max_reduction=1.0).values["tad.captured"] == 2
    assert tad.tad(codes, same, max_reduction=0.9).values["tad.captured"] == 0


def test_exact_areas_stand_under_any_ascending_map() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 500)
    codes = codes_of(labels, rng, 1.5).astype(np.float64)
    scores = [tad.tad(map_(codes), labels).values for map_ in (lambda c: c, np.exp, np.cbrt, lambda c: -0.02 * c)]
    assert scores[0]["tad.captured"] >= 3
    assert all(score == scores[0] for score in scores)


@pytest.mark.parametrize(
    ("degrees", "exact", "fine", "coarse"), [(None, 0.504, 0.514, 0.604), (3, 0.512, 0.562, 0.766)]
)
def test_a_sweep_finds_signal_in_noise(degrees: int | None, exact: float, fine: float, coarse: float) -> None:
    """The figures were found when the procedures were compared, on other noise."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((10_000, 8)) if degrees is None else rng.standard_t(degrees, (10_000, 8))
    labels = torch.from_numpy((rng.random((10_000, 4)) < 0.3).astype(int))
    for thresholds, expected, within in (
        (None, exact, 0.01),
        (101, fine, 0.02),
        (11, coarse, 0.02 if degrees is None else 0.15),
    ):
        found = detection_areas(torch.from_numpy(codes), labels, thresholds, 0.0).mean().item()
        assert found == pytest.approx(expected, abs=within)


def test_the_sweep_depends_on_scale_and_shape() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((1_000, 10)) < 0.3).astype(int)
    codes = 1.5 * labels + rng.standard_normal((1_000, 10))
    shapes = {"as it is": codes, "sigmoid": 1 / (1 + np.exp(-3 * codes)), "small": 0.02 * codes}
    exact = {name: tad.tad(c, labels).values["tad"] for name, c in shapes.items()}
    assert max(exact.values()) == min(exact.values()) > 2
    for thresholds, share in ((101, 0.99), (11, 0.97)):
        swept = {n: tad.tad(c, labels, auroc="sweep", thresholds=thresholds, min_range=0.2) for n, c in shapes.items()}
        found = {name: score.values["tad"] for name, score in swept.items()}
        assert found["small"] == 0
        assert found["sigmoid"] < share * found["as it is"] < exact["as it is"]
        assert swept["small"].values["tad.captured"] == 0


def test_a_coarse_sweep_captures_noise() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((10_000, 10)) < 0.2).astype(int)
    noise = rng.standard_t(5, (10_000, 20))
    captured = [
        tad.tad(noise, labels, **how).values["tad.captured"]
        for how in ({}, {"auroc": "sweep"}, {"auroc": "sweep", "thresholds": 11})
    ]
    assert captured[:2] == [0, 0]
    assert captured[2] >= 5


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_images_are_distinct_and_labelled_with_their_own(metric: tad.Metric) -> None:
    labels = torch.from_numpy(attributes(np.random.default_rng(0), 5_000))
    for n in (100, 4_000, 5_000):
        settings = replace(metric.settings(), num_train=n)
        draw = metric.draw(binary("abcdef", labels), settings, rows(1))
        index = draw.indices["train"]
        assert len(index.unique()) == len(index) == n
        assert torch.equal(draw.labels["train"], labels[index])
        assert ("reduction" in draw.labels) == (metric.name == "tad")
        assert not torch.equal(index, index.sort().values)
        assert not torch.equal(index, metric.draw(binary("abcdef", labels), settings, rows(2)).indices["train"])


@pytest.mark.parametrize("n_factors", [7, 12, 40, 62])
def test_images_of_a_grid_are_distinct_combinations(n_factors: int) -> None:
    space = FactorSpace(tuple(Factor(str(k), 2) for k in range(n_factors)))
    draw = tad.draw(space, tad.Settings(num_train=128), rows(0))
    index = draw.indices["train"]
    assert len(index.unique()) == 128
    assert torch.equal(space.index(draw.labels["train"]), index)
    assert not draw.labels["reduction"].any()
    assert 0.3 < draw.labels["train"].double().mean() < 0.7


def test_fewer_images_than_asked_are_refused() -> None:
    labels = binary("ab", torch.tensor([[0, 1]] * 30))
    with pytest.raises(NotApplicable, match=r"needs 10,000 different images and there are 30; --set tad.num_train=30"):
        tad.draw(labels, tad.Settings(), rows(0))
    with pytest.raises(NotApplicable, match=r"1,000 .* --set tad@nashae.num_train=8"):
        tad.draw(FactorSpace(tuple(Factor(name, 2) for name in "abc")), tad.Nashae(), rows(0))


def test_eligibility_comes_from_all_labels_or_from_the_sample() -> None:
    """Two attributes that are the same in all images but the first hundred."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy((rng.random((3_000, 2)) < 0.5).astype(int))
    labels[100:, 1] = labels[100:, 0]
    codes = 5.0 * labels.float() + torch.randn(3_000, 2, generator=rows(0))
    for choice, captured in (("all", 0), ("sample", 2)):
        settings = tad.Settings(num_train=3_000, statistics=choice)
        draw = tad.draw(binary("ab", labels), settings, rows(0))
        some = draw.indices["train"] < 100
        draw = replace(
            draw,
            indices={"train": draw.indices["train"][some]},
            labels=draw.labels | {"train": draw.labels["train"][some]},
        )
        found = tad.score(codes, draw, settings)
        assert found.values["tad.captured"] == captured
        assert ("removes" in found.details["attributes"][0]["left_out"]) == (captured == 0)


def test_the_table_says_why_each_attribute_is_left_out() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 2_000)
    labels[:, 4] = 0
    codes = codes_of(labels, rng, 3.0)
    codes[:, 5] = rng.standard_normal(2_000)
    names = ("common", "same", "even", "rare", "none", "hidden")
    score = tad.score(torch.from_numpy(codes), Draw.of_rows(torch.from_numpy(labels), names=names), tad.Settings())
    details = json.loads(json.dumps(score.details))
    found = {row["attribute"]: row for row in details["attributes"]}
    assert [name for name, row in found.items() if row["captured"]] == ["even", "rare"]
    assert found["common"]["left_out"].startswith("'same' removes 0.")
    assert found["common"]["reduced_by"] == "same"
    assert found["none"]["left_out"] == "it takes a single value here"
    assert found["none"]["auroc"] is None
    assert found["hidden"]["left_out"].startswith("its best code has an area of 0.5")
    assert found["even"]["code"] == 2
    assert found["even"]["positive"] == labels[:, 2].mean()
    assert found["even"]["auroc"] == pytest.approx(roc_auc_score(labels[:, 2], codes[:, 2]), abs=1e-10)
    assert found["even"]["difference"] == pytest.approx(found["even"]["auroc"] - found["even"]["second_auroc"])
    assert score.values["tad"] == pytest.approx(found["even"]["difference"] + found["rare"]["difference"])
    assert details["remarks"] == ["attributes left out, with a single value among the samples: none."]


def test_folds_are_told() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 203)
    found = tad.tad(codes_of(labels, rng, 2.0), labels, folds=5)
    assert found.values["tad"] == pytest.approx(np.mean(found.details["folds"]["tad"]))
    assert len(set(found.details["folds"]["tad"])) == 5
    assert found.details["standard_deviation"]["tad"] == pytest.approx(np.std(found.details["folds"]["tad"]))
    assert json.dumps(found.details)
    assert found.details["remarks"] == [
        "attributes left out, with a single value among the training part of a fold: 4.",
        "attributes with fewer than 10 samples of one value, mostly chance: 3, 4.",
    ]


def test_tokens_become_one_code_each_or_many() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 400)[:, :4]
    tokens = codes_of(labels, rng, 3.0)[:, :, None] * np.array([1.0, -2.0, 0.5])
    one = tad.tad(tokens, labels)
    assert one.values == pytest.approx(dict(tad.tad(tokens[:, :, 0], labels).values), abs=0.01)
    assert one.values["tad"] > 0.5
    assert tad.tad(torch.from_numpy(tokens), labels, tokens="flatten").values["tad"] == 0  # the runner-up is as good
    tokens[3, 2, 1] = np.nan
    with pytest.raises(DisbenchError, match="must be finite; row 3, code 7"):
        tad.tad(tokens, labels)


def test_minus_one_and_one_are_labels_too() -> None:
    rng = np.random.default_rng(0)
    labels = attributes(rng, 200)
    codes = codes_of(labels, rng, 2.0)
    assert tad.tad(codes, 2 * labels - 1).values == tad.tad(codes, labels).values


def test_undefined() -> None:
    codes, labels = torch.randn(20, 3, generator=rows(0)), torch.arange(20)[:, None] % 2
    assert "only one code" in tad.tad(codes[:, :1], labels).undefined["tad"]
    assert "at least two samples" in tad.tad(codes[:1], labels[:1]).undefined["tad.captured"]
    assert "one for each fold; got 4" in tad.tad(codes[:4], labels[:4], folds=5).undefined["tad"]
    assert "every attribute takes a single value among the samples" in tad.tad(codes, 0 * labels).undefined["tad"]
    rare = (torch.arange(20) == 3).long()[:, None]
    assert "training part of a fold" in tad.tad(codes, rare, folds=5).undefined["tad"]
    assert tad.tad(codes, rare).values["tad.captured"] in (0.0, 1.0)
    three = torch.cat([labels, torch.arange(20)[:, None] % 3], dim=1)
    with pytest.raises(DisbenchError, match="two values each; column 1 has 3"):
        tad.tad(codes, three)
    draw = Draw.of_rows(three, names=("a", "b"))
    assert "'b' has more" in tad.score(codes, draw, tad.Settings()).undefined["tad"]


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(UsageError, match=r"tad.auroc is exact or sweep; got 'best'"):
        tad.Settings(auroc="best")
    with pytest.raises(UsageError, match=r"tad@dyga.tokens is pca or flatten"):
        tad.Dyga(tokens="mean")
    with pytest.raises(UsageError, match=r"tad.thresholds must be at least 2"):
        tad.Settings(thresholds=1)
    with pytest.raises(UsageError, match=r"tad@nashae.num_train must be at least 1"):
        tad.Nashae(num_train=0)
