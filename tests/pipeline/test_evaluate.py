"""From a model and a data set to a report."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

import disbench
from disbench import DisbenchError, UsageError, evaluate, registry, score_codes
from disbench.encode import Pca
from disbench.metrics import mig
from disbench.metrics._boosting import boost
from disbench.types import Factor, FactorSpace, Score
from tests.conftest import TINY, TinyDataset, perfect_codes

Settings = dict[str, int]


def test_perfect_codes_score_high_and_noise_low(tiny: TinyDataset, small: Settings) -> None:
    perfect = evaluate(perfect_codes, tiny, settings=small)
    assert perfect.complete
    assert perfect.scores["factor_vae"] == 1.0
    assert perfect.scores["mig"] > 0.9
    assert perfect.scores["dci.disentanglement"] > 0.95
    projection = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    mixed = evaluate(lambda images: images.flatten(1) @ projection, tiny, settings=small)
    for name, value in mixed.scores.items():
        assert value < perfect.scores[name]


def test_report_carries_numbers_status_and_text(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(perfect_codes, tiny, settings=small)
    assert list(report.scores) == [
        "factor_vae", "mig", "dci.disentanglement", "dci.completeness", "dci.informativeness",
    ]  # fmt: skip
    assert report.values["mig"].status == "ok"
    frame = report.to_frame()
    assert frame.loc["mig", "value"] == report.scores["mig"]
    assert json.loads(report.to_json()) == json.loads(json.dumps(report.record))
    for text in (
        "tiny",
        "locatello2019+custom",
        "factor_vae",
        "higher is better",
        "0 ... 1",
        "encoded once",
        "seconds",
    ):
        assert text in str(report)


def test_every_image_is_encoded_once_and_the_probe_once_more(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(perfect_codes, tiny, settings=small, batch_size=50)
    served = torch.cat(tiny.served)
    sample = report.record["sample"]
    counts = torch.bincount(served, minlength=len(tiny))
    assert len(served) == sample["n_encoded"] + sample["n_probe"]
    assert int((counts > 0).sum()) == sample["n_encoded"] <= len(tiny)
    assert int((counts == 2).sum()) == sample["n_probe"] == 32
    assert counts.max() == 2
    assert sample["n_asked"] == 200 + 100 * 64 + 50 * 64 + 500 + 200 + 100


def test_metrics_do_not_move_each_other(tiny: TinyDataset, small: Settings) -> None:
    together = evaluate(noisy_but_fixed, tiny, settings=small)
    for metric in ("mig", "dci", "factor_vae"):
        own = {path: value for path, value in small.items() if path.startswith(metric)}
        alone = evaluate(noisy_but_fixed, tiny, metrics=metric, settings=own)
        assert alone.scores == {name: together.scores[name] for name in alone.scores}
        part = alone.record["key"]["metrics"][metric]
        assert part == together.record["key"]["metrics"][metric]


def noisy_but_fixed(images: Tensor) -> Tensor:
    return perfect_codes(images) + torch.sin(100 * images.flatten(1).sum(1, keepdim=True) + torch.arange(3))


def test_same_seed_same_bytes_other_seed_other_numbers(tiny: TinyDataset, small: Settings) -> None:
    first, again = (evaluate(noisy_but_fixed, tiny, settings=small) for _ in range(2))
    assert (first.scores, first.details, first.record["sample"]) == (
        again.scores,
        again.details,
        again.record["sample"],
    )
    other = evaluate(noisy_but_fixed, tiny, settings=small, eval_seed=1)
    assert other.scores["mig"] != first.scores["mig"]


def test_batch_size_does_not_matter(tiny: TinyDataset, small: Settings) -> None:
    scores = [evaluate(noisy_but_fixed, tiny, settings=small, batch_size=size).scores for size in (1, 7, 256)]
    assert scores[0] == scores[1] == scores[2]


def test_number_of_workers_does_not_matter() -> None:
    codes, factors = CODES.numpy(), FACTORS.numpy()
    one, two = (boost(codes, factors, codes, factors, seed=3, stages=5, n_jobs=n) for n in (1, 2))
    assert np.array_equal(one.importances, two.importances)
    assert np.array_equal(one.test_accuracy, two.test_accuracy)


def test_repeats_are_separate_evaluations_on_one_table(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(noisy_but_fixed, tiny, settings=small, repeats=3, eval_seed=4)
    separate = [evaluate(noisy_but_fixed, tiny, settings=small, eval_seed=seed).scores for seed in (4, 5, 6)]
    for name, value in report.values.items():
        numbers = [scores[name] for scores in separate]
        assert report.record["scores"][name]["repeats"] == numbers
        assert value.value == pytest.approx(np.mean(numbers))
        assert value.std == pytest.approx(np.std(numbers, ddof=1))
        assert value.interval == pytest.approx(
            (value.value - 2.4843 * value.std, value.value + 2.4843 * value.std), rel=1e-4
        )  # t(.975, 2) / sqrt(3)
    assert "95 % interval" in str(report)


class WithBatchNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.norm(images.flatten(1)))[:, :4]

    def encode(self, images: Tensor) -> Tensor:
        return self(images)


@pytest.mark.parametrize("of", [lambda m: m, lambda m: m.encode], ids=["module", "method"])
def test_modules_are_put_in_eval_mode_and_restored(tiny: TinyDataset, small: Settings, of: Callable) -> None:
    module = WithBatchNorm()
    module.norm.eval()
    module.dropout.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    report = evaluate(of(module), tiny, metrics="mig", settings={"mig.num_train": 200})
    assert (module.training, module.norm.training, module.dropout.training) == (True, False, True)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert report.complete


def test_modules_are_restored_when_they_fail(tiny: TinyDataset) -> None:
    module = WithBatchNorm()
    module.norm = nn.BatchNorm1d(3)
    with pytest.raises(DisbenchError, match="the model raised"):
        evaluate(module, tiny, metrics="mig")
    assert module.training


def test_numpy_models(tiny: TinyDataset, small: Settings) -> None:
    def encode(images: np.ndarray) -> np.ndarray:
        assert isinstance(images, np.ndarray)
        assert images.dtype == np.float32
        return perfect_codes(torch.from_numpy(images)).numpy()

    found = evaluate(encode, tiny, settings=small, array="numpy").scores
    assert found == evaluate(perfect_codes, tiny, settings=small).scores


def test_input_range(tiny: TinyDataset) -> None:
    seen = []

    def encode(images: Tensor) -> Tensor:
        seen.append((images.min().item(), images.max().item()))
        return perfect_codes(images)

    evaluate(encode, tiny, metrics="mig", input_range=(-1, 1))
    assert min(low for low, _ in seen) == -1
    assert max(high for _, high in seen) == pytest.approx(2 * 240 / 255 - 1)


def as_tokens(images: Tensor) -> Tensor:
    codes = perfect_codes(images)
    return torch.stack([codes, 2 * codes + 1], dim=-1)


def test_tokens_need_a_reducer(tiny: TinyDataset, small: Settings) -> None:
    with pytest.raises(DisbenchError, match="flatten, pca"):
        evaluate(as_tokens, tiny, settings=small)
    flat = evaluate(as_tokens, tiny, settings=small, reducer="flatten")
    assert flat.record["model"]["n_codes"] == 6
    reduced = evaluate(as_tokens, tiny, settings=small, reducer="pca")
    assert reduced.record["model"]["n_codes"] == 3
    assert reduced.scores["factor_vae"] == 1.0
    assert reduced.record["key"]["reducer"] == "pca"
    assert reduced.record["identity"] != flat.record["identity"]
    with pytest.raises(DisbenchError, match="leave the reducer out"):
        evaluate(perfect_codes, tiny, settings=small, reducer="pca")
    with pytest.raises(UsageError, match="did you mean 'pca'"):
        evaluate(as_tokens, tiny, reducer="pcaa")


def test_pca_is_scikit_learns_and_no_image_is_encoded_twice_for_it(tiny: TinyDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(500, 3, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
    reducer = Pca()
    reducer.fit(tokens)
    ours = reducer(tokens).numpy()
    for t in range(3):
        expected = PCA(1).fit_transform(tokens[:, t].numpy())[:, 0]
        assert np.abs(np.corrcoef(ours[:, t], expected)[0, 1]) == pytest.approx(1, abs=1e-6)
        assert ours[:, t].std() == pytest.approx(expected.std(), rel=1e-4)
    Pca.n_fitted, before = 100, Pca.n_fitted
    try:
        report = evaluate(as_tokens, tiny, metrics="mig", settings={"mig.num_train": 400}, reducer="pca")
        fewer = evaluate(as_tokens, tiny, metrics="mig", settings={"mig.num_train": 50}, reducer="pca")
    finally:
        Pca.n_fitted = before
    assert report.record["sample"]["n_encoded"] > 200
    assert fewer.record["sample"]["n_encoded"] > 100
    counts = torch.bincount(torch.cat(tiny.served[: len(tiny.served) // 2]))
    assert counts.max() <= 2


def centred_beside_a_large_code(images: Tensor) -> Tensor:
    codes = perfect_codes(images)
    return torch.cat([codes - codes.mean(0), 1e5 * codes[:, :1]], dim=1)


BAD_MODELS = {
    "overflow": (lambda x: perfect_codes(x).double() * 1e300, "codes must be finite"),
    "large": (lambda x: perfect_codes(x) * 1e30, "within ±1e"),
    "exits": (lambda x: sys.exit(5), "the model raised SystemExit"),
    "centred beside a large code": (centred_beside_a_large_code, "depend on the batch"),
    "nan": (lambda x: perfect_codes(x) / 0 * 0, "codes must be finite"),
    "one dimension": (lambda x: perfect_codes(x)[:, 0], r"expected codes \(256, d\)"),
    "rows missing": (lambda x: perfect_codes(x)[1:], "returned shape"),
    "no codes": (lambda x: perfect_codes(x)[:, :0], "returned shape"),
    "tuple": (lambda x: (perfect_codes(x), x), "returned a tuple"),
    "nothing": (lambda x: None, "expected an array"),
    "text": (lambda x: "codes", "expected an array"),
    "complex": (lambda x: perfect_codes(x) * 1j, "expected real numbers"),
    "raises": (lambda x: x.no_such_attribute, "the model raised AttributeError"),
    "chance": (lambda x: torch.randn(len(x), 3), "depend on the batch"),
    "batch": (lambda x: perfect_codes(x) - perfect_codes(x).mean(0), "depend on the batch"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models_end_with_a_sentence(name: str, tiny: TinyDataset) -> None:
    model, sentence = BAD_MODELS[name]
    with pytest.raises(DisbenchError, match=sentence):
        evaluate(model, tiny, metrics="mig")


def test_a_changing_number_of_codes_is_refused(tiny: TinyDataset) -> None:
    with pytest.raises(DisbenchError, match="must not change"):
        evaluate(lambda x: perfect_codes(x)[:, : 3 if len(x) == 100 else 2], tiny, metrics="mig", batch_size=100)


def test_models_with_few_images_are_probed_too() -> None:
    class Few(TinyDataset):
        pass

    few = Few()
    with pytest.raises(DisbenchError, match="depend on the batch"):
        evaluate(BAD_MODELS["batch"][0], few, metrics="mig", settings={"mig.num_train": 20})


def test_wrong_usage_is_named(tiny: TinyDataset) -> None:
    for options, sentence in (
        ({"protocol": "locatelo2019"}, "did you mean 'locatello2019'"),
        ({"metrics": "migg"}, "did you mean 'mig'"),
        ({"metrics": []}, "no metric was asked for"),
        ({"settings": {"mig.bin": 3}}, "did you mean 'bins'"),
        ({"settings": {"mig.bins": "many"}}, "whole number"),
        ({"settings": {"mig.bins": 0}}, "at least 1"),
        ({"settings": {"bins": 3}}, "METRIC.SETTING"),
        ({"metrics": "mig", "settings": {"dci.stages": 3}}, "does not run here"),
        ({"settings": {"factor_vae.batch_size": 1}}, "at least 2"),
        ({"repeats": 0}, "at least 1"),
        ({"eval_seed": -1}, "not be negative"),
        ({"batch_size": 0}, "at least 1"),
        ({"device": "gpu"}, "cannot be used here"),
        ({"array": "jax"}, "torch or numpy"),
        ({"input_range": (1, -1)}, "must rise"),
    ):
        with pytest.raises(UsageError, match=sentence):
            evaluate(perfect_codes, tiny, **options)
    with pytest.raises(UsageError, match="score_codes"):
        evaluate(torch.zeros(3, 3), tiny)
    with pytest.raises(UsageError, match="give an instance"):
        evaluate(WithBatchNorm, tiny)


def test_labelled_data_that_is_no_grid_is_refused(tiny: TinyDataset) -> None:
    tiny.spec = replace(tiny.spec, kind="labelled")  # type: ignore[misc]
    with pytest.raises(UsageError, match="factor_vae, mig, dci draw images by their factors, and tiny is no grid"):
        evaluate(perfect_codes, tiny)


WRONG_DATA = {
    "floats": lambda pixels: pixels.float() / 255,
    "channels first": lambda pixels: pixels.permute(0, 3, 1, 2),
    "too few": lambda pixels: pixels[1:],
    "numpy": lambda pixels: pixels.numpy(),
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_images_are_laid_to_the_data_set(name: str, tiny: TinyDataset) -> None:
    images = tiny.images
    tiny.images = lambda index: WRONG_DATA[name](images(index))  # type: ignore[method-assign]
    with pytest.raises(
        DisbenchError, match=r"the data set tiny served .*expected a torch tensor \(\d+, 8, 8, 1\) of uint8"
    ):
        evaluate(perfect_codes, tiny, metrics="mig")


def test_a_grid_of_another_length_is_refused(tiny: TinyDataset) -> None:
    tiny.spec = replace(tiny.spec, space=FactorSpace((*TINY.factors, Factor("z", 10))))  # type: ignore[misc]
    with pytest.raises(DisbenchError, match="256 images for 2,560 combinations"):
        evaluate(perfect_codes, tiny)


@pytest.mark.parametrize("value", [float("nan"), 1.5])
def test_a_metric_that_breaks_its_promise_is_named(
    value: float, tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = registry.metrics()
    broken = replace(everything["mig"], score=lambda *_: Score({"mig": value}))
    monkeypatch.setattr(registry, "metrics", lambda: {**everything, "mig": broken})
    with pytest.raises(DisbenchError, match="the metric mig gave"):
        evaluate(perfect_codes, tiny, metrics="mig")


def test_one_value_of_a_metric_can_be_asked_for(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(
        perfect_codes, tiny, metrics=["dci.completeness"], settings={k: v for k, v in small.items() if "dci" in k}
    )
    assert list(report.scores) == ["dci.completeness"]


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
        settings={"dci.stages": 2},
    )  # fmt: skip
    scores = dict(report.scores)
    assert scores.pop("dci.informativeness") == pytest.approx((1 / 4 + 1 / 8 + 1 / 8) / 3)
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


def test_public_names() -> None:
    for name in disbench.__all__:
        assert getattr(disbench, name).__doc__
    assert set(disbench.__all__) <= set(dir(disbench))
    with pytest.raises(AttributeError):
        _ = disbench.no_such_name
