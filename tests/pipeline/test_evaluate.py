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
from disbench import DisbenchError, UsageError, evaluate, registry
from disbench.encode import Pca
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
    for name in ("beta_vae", "factor_vae", "mig", "dci.disentanglement", "dci.informativeness", "modularity"):
        assert mixed.scores[name] < perfect.scores[name]
    assert mixed.scores["gaussian_total_correlation"] > perfect.scores["gaussian_total_correlation"]


def test_report_carries_numbers_status_and_text(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(perfect_codes, tiny, settings=small)
    assert list(report.scores) == [
        "beta_vae", "factor_vae", "mig", "dci.disentanglement", "dci.completeness", "dci.informativeness",
        "dci.informativeness_train", "sap", "modularity", "explicitness", "explicitness.train",
        "gaussian_total_correlation", "gaussian_wasserstein_correlation", "gaussian_wasserstein_correlation.normed",
        "mutual_information",
    ]  # fmt: skip
    assert report.values["mig"].status == "ok"
    frame = report.to_frame()
    assert frame.loc["mig", "value"] == report.scores["mig"]
    line = json.loads(report.to_json())
    assert len(line.pop("hash")) == 64
    assert line == json.loads(json.dumps(report.record))
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
    few = {path: size for path, size in small.items() if path.split(".")[0] in ("factor_vae", "mig", "dci")}
    report = evaluate(perfect_codes, tiny, metrics="factor_vae,mig,dci", settings=few, batch_size=50)
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


def test_repeats_are_separate_evaluations_on_one_table(tiny: TinyDataset, small: Settings) -> None:
    report = evaluate(noisy_but_fixed, tiny, settings=small, repeats=3, eval_seed=4)
    separate = [evaluate(noisy_but_fixed, tiny, settings=small, eval_seed=seed).scores for seed in (4, 5, 6)]
    for name, value in report.values.items():
        numbers = [scores[name] for scores in separate]
        assert report.record["scores"][name]["repeats"] == numbers
        assert value.value == pytest.approx(np.mean(numbers))
        assert value.std == pytest.approx(np.std(numbers, ddof=1))
        assert value.interval == pytest.approx(
            (value.value - 2.4843 * value.std, value.value + 2.4843 * value.std), abs=1e-4
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
    with pytest.raises(DisbenchError, match="flatten, pca, pca_all"):
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


def test_labelled_data_is_drawn_row_by_row(tiny: TinyDataset, small: dict[str, int]) -> None:
    """Metrics that take samples run; one that holds a factor fixed does not, and says so."""
    tiny.spec = replace(tiny.spec, kind="labelled")  # type: ignore[misc]
    report = evaluate(perfect_codes, tiny, metrics="mig,factor_vae", settings={"mig.num_train": 500})
    assert report.scores["mig"] > 0.9
    value = report.values["factor_vae"]
    assert (value.status, value.reason) == (
        "not applicable", "it needs every combination of the factors exactly once, and tiny has labels only",
    )  # fmt: skip
    with pytest.raises(UsageError, match="none of factor_vae can be had on tiny: it needs every combination"):
        evaluate(perfect_codes, tiny, metrics="factor_vae")


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


def test_public_names() -> None:
    for name in disbench.__all__:
        assert getattr(disbench, name).__doc__
    assert set(disbench.__all__) <= set(dir(disbench))
    with pytest.raises(AttributeError):
        _ = disbench.no_such_name
