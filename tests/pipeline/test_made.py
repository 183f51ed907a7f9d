"""What a model makes: reconstructions and samples, scored beside its codes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import disbench
from disbench import DisbenchError, UsageError, evaluate, extractors, score_codes
from disbench.metrics.images.mse import mse
from disbench.plan import distinct, generator_for
from disbench.types import DatasetSpec, Factor, FactorSpace
from tests.conftest import TINY, TinyDataset, perfect_codes

FEATURES = f"{__file__}:pooled"
ON_PAIRS = {"mse.num_images": 50, "psnr.num_images": 40}
ON_SETS = {"rfid.num_images": 60, "fid.num_images": 60, "rfid.features": FEATURES, "fid.features": FEATURES}


def pooled(images: Tensor) -> Tensor:
    """A feature extractor: 2 x 2 means."""
    return torch.nn.functional.avg_pool2d(images, 4).flatten(1)


class Painter(torch.nn.Module):
    """Knows the square's brightness, column and row, and paints it a little too dark."""

    generated_from = "squares anywhere"
    error = 0.1

    def forward(self, images: Tensor) -> Tensor:
        return perfect_codes(images)

    def decode(self, codes: Tensor) -> Tensor:
        images = torch.zeros(len(codes), 1, 8, 8)
        images[torch.arange(len(codes)), 0, codes[:, 2].long(), codes[:, 1].long()] = codes[:, 0] - self.error
        return images

    def generate(self, n: int, generator: torch.Generator) -> Tensor:
        places = torch.randint(8, (n, 2), generator=generator)
        return self.decode(torch.cat([torch.full((n, 1), 0.5), places], dim=1))


def scored(model: Any, dataset: Any, metrics: str | None = "mse,psnr", settings: Any = ON_PAIRS, **options: Any) -> Any:
    return evaluate(model, dataset, metrics=metrics, settings=settings, **options)


def test_reconstructions(tiny: TinyDataset) -> None:
    report = scored(Painter(), tiny)
    assert report.scores["mse"] == pytest.approx(0.1**2 / 64, rel=1e-5)
    assert report.scores["psnr"] == pytest.approx(10 * np.log10(6400), rel=1e-5)
    assert report.details["mse"]["num_images"] == 50
    assert report.details["psnr"]["num_images"] == 40
    assert report.record["sample"]["made"]["reconstructions"]["num_images"] == 50
    assert report.record["sample"]["n_encoded"] == 0
    assert report.record["model"]["n_codes"] is None


def test_the_images_are_different_ones_and_those_of_the_eval_seed(tiny: TinyDataset) -> None:
    drawn = []
    for seed in (0, 0, 1):
        tiny.served.clear()
        scored(Painter(), tiny, eval_seed=seed)
        drawn.append(torch.cat(tiny.served[-1:]))  # before it, the probe
        assert len(drawn[-1].unique()) == 50
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_protocol_adds_what_the_model_offers(tiny: TinyDataset, small: dict[str, int]) -> None:
    plain = evaluate(perfect_codes, tiny, settings=small)
    offering = evaluate(Painter(), tiny, settings=small | ON_PAIRS | {"ssim.num_images": 50})
    assert {*offering.scores} - {*plain.scores} == {"mse", "psnr", "ssim"}
    assert {name: offering.scores[name] for name in plain.scores} == plain.scores
    assert offering.values["ssim"].status == "not applicable"  # boards of 8 x 8 are too small for its windows
    assert "its windows are 11 pixels wide, and the images have (8, 8)" in str(offering)
    assert offering.complete


@pytest.mark.parametrize("asked", [None, "rfid,fid"])
def test_inception_is_left_out_where_it_cannot_be_had(
    asked: str | None, tiny: TinyDataset, small: dict[str, int], tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    few = {"rfid.num_images": 60, "fid.num_images": 60} if asked else small | ON_PAIRS
    report = evaluate(Painter(), tiny, metrics=asked, settings=few, progress=True)
    if asked is None:
        assert "fid" not in report.scores
        assert "disbench: without rfid, fid: " in capsys.readouterr().err
        return
    assert not report.complete
    assert {value.status for value in report.values.values()} == {"not applicable"}
    assert report.record["key"]["metrics"]["fid"]["extractor"] is None
    assert str(report).count("rfid, fid are not applicable: ") == 1


def test_on_a_cpu_inception_runs_only_by_name(
    tiny: TinyDataset, small: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extractors, "missing", lambda source: "")
    report = evaluate(Painter(), tiny, settings={**small, "*.num_images": 50}, progress=True)
    assert "fid" not in report.scores
    assert "a CPU puts a few images a second through Inception" in capsys.readouterr().err


def test_distances_of_features(tiny: TinyDataset) -> None:
    report = scored(Painter(), tiny, "rfid,fid", ON_SETS)
    assert 0 < report.scores["rfid"] < report.scores["fid"]
    exact = Painter()
    exact.error = 0.0
    assert scored(exact, tiny, "rfid", {k: v for k, v in ON_SETS.items() if "rfid" in k}).scores["rfid"] < 1e-6


def test_images_are_rounded_to_bytes_before_features_are_found(tiny: TinyDataset, tmp_path: Path) -> None:
    """As images that are saved and read again: to the nearest level."""
    (tmp_path / "levels.py").write_text(
        "def levels(images):\n    return 255 * images.flatten(1).sum(1, keepdim=True)\n"
    )
    settings = {"fid.num_images": 60, "fid.features": f"{tmp_path}/levels.py:levels"}

    class Grey(Painter):
        def generate(self, n: int, generator: torch.Generator) -> Tensor:
            return torch.full((n, 1, 8, 8), 100.6 / 255)

    def mean_term(level: float) -> float:
        real = tiny.images(drawn_for(tiny, 60)).double().flatten(1).sum(1)
        return (real.mean().item() - 64 * level) ** 2

    found = scored(Grey(), tiny, "fid", settings).details["fid"]["mean_term"]
    assert found == pytest.approx(mean_term(101), rel=1e-6)


def drawn_for(dataset: TinyDataset, n: int, seed: int = 0) -> Tensor:
    return distinct(len(dataset), n, generator_for(seed, "images", 1))


def test_reconstructions_are_compared_with_the_very_images_that_they_are_of(tiny: TinyDataset) -> None:
    """Also where another metric asks for more of them."""
    alone = scored(Painter(), tiny, "rfid", {k: v for k, v in ON_SETS.items() if "rfid" in k})
    settings = {"mse.num_images": 200, **{k: v for k, v in ON_SETS.items() if "rfid" in k}}
    beside = scored(Painter(), tiny, "mse,rfid", settings)
    assert beside.scores["rfid"] == pytest.approx(alone.scores["rfid"], rel=1e-9)
    assert beside.details["rfid"]["n_real"] == beside.details["rfid"]["n_made"] == 60
    compared = beside.record["sample"]["made"]["reconstructions"]["compared_with_sha256"]
    assert compared == hashlib.sha256(drawn_for(tiny, 200).numpy().tobytes()).hexdigest()


def test_what_a_model_draws_follows_the_eval_seed(tiny: TinyDataset) -> None:
    seen = []

    class Watched(Painter):
        def generate(self, n: int, generator: torch.Generator) -> Tensor:
            seen.append((torch.rand(3, generator=generator).tolist(), torch.rand(3).tolist()))
            return super().generate(n, generator)

    settings = {k: v for k, v in ON_SETS.items() if k.startswith("fid")}
    for seed in (0, 0, 1):
        scored(Watched(), tiny, "fid", settings, eval_seed=seed)
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] != seen[2][1]


def test_metrics_on_the_same_features_share_them(tiny: TinyDataset) -> None:
    calls = []

    class Counting(Painter):
        def generate(self, n: int, generator: torch.Generator) -> Tensor:
            calls.append(n)
            return super().generate(n, generator)

    settings = {f"{name}.{key}": value for name in ("fid", "kid", "precision_recall", "density_coverage")
                for key, value in (("num_images", 60), ("features", FEATURES))}  # fmt: skip
    report = scored(Counting(), tiny, "fid,kid,precision_recall,density_coverage", settings | {"kid.subset_size": 50})
    assert calls == [60]
    assert report.complete


def test_the_record_says_what_samples_start_from(tiny: TinyDataset) -> None:
    made = scored(Painter(), tiny, "fid", {k: v for k, v in ON_SETS.items() if k.startswith("fid")}).record["sample"][
        "made"
    ]
    assert made["generation"]["by"] == "generate"
    assert made["generation"]["conditioned_on"] == "squares anywhere"


def test_samples_follow_the_eval_seed_and_nothing_else(tiny: TinyDataset) -> None:
    settings = {k: v for k, v in ON_SETS.items() if k.startswith("fid")}

    class Careless(Painter):
        def generate(self, n: int, generator: torch.Generator) -> Tensor:
            return torch.rand(n, 1, 8, 8)  # from torch's own generator

    for model in (Painter(), Careless()):
        torch.manual_seed(1)
        first = scored(model, tiny, "fid", settings).scores["fid"]
        state = torch.get_rng_state()
        torch.manual_seed(2)
        assert scored(model, tiny, "fid", settings).scores["fid"] == first
        assert scored(model, tiny, "fid", settings, eval_seed=1).scores["fid"] != first
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)


def test_a_model_in_another_range(tiny: TinyDataset) -> None:
    painter = Painter()

    def encode(images: Tensor) -> Tensor:
        return painter(images / 2 + 0.5)

    encode.decode = lambda codes: 2 * painter.decode(codes) - 1  # type: ignore[attr-defined]
    found = scored(encode, tiny, input_range=(-1, 1)).scores
    assert found["mse"] == pytest.approx(scored(painter, tiny).scores["mse"], rel=1e-5)


def test_a_numpy_model(tiny: TinyDataset) -> None:
    painter, settings = Painter(), {k: v for k, v in ON_SETS.items() if k.startswith("fid")}

    class Foreign:
        def __call__(self, images: np.ndarray) -> np.ndarray:
            assert isinstance(images, np.ndarray)
            return painter(torch.from_numpy(images)).numpy()

        def decode(self, codes: np.ndarray) -> np.ndarray:
            assert isinstance(codes, np.ndarray)
            return painter.decode(torch.from_numpy(codes)).numpy()

        def generate(self, n: int, generator: np.random.Generator) -> np.ndarray:
            return generator.random((n, 1, 8, 8), dtype=np.float32)

    found = scored(Foreign(), tiny, "mse,fid", {"mse.num_images": 50} | settings, array="numpy")
    assert found.scores["mse"] == scored(painter, tiny).scores["mse"]
    assert found.complete


def test_the_decoder_of_a_bound_method(tiny: TinyDataset) -> None:
    class Vae(Painter):
        def encode(self, images: Tensor) -> Tensor:
            return self(images)

        def features(self, images: Tensor) -> Tensor:
            return self(images)

    assert scored(Vae().encode, tiny).complete
    other = scored(Vae().features, tiny)
    assert str(other.values["mse"].reason) == "the model has no decode"


@pytest.mark.parametrize(
    ("decode", "sentence"),
    [
        (lambda codes: 1 / 0, "decode raised ZeroDivisionError: division by zero"),
        (
            lambda codes: torch.zeros(len(codes), 1, 4, 4),
            r"decode returned shape (50, 1, 4, 4) for 50 images; expected",
        ),
        (lambda codes: torch.zeros(len(codes), 1, 8, 8, dtype=torch.uint8), "decode returned torch.uint8; expected"),
        (lambda codes: torch.full((len(codes), 1, 8, 8), torch.nan), "decode returned values that are not finite"),
        (lambda codes: 2 * torch.rand(len(codes), 1, 8, 8) - 1, "expected 0 ... 1, the range that the model takes"),
        (lambda codes: (codes, codes), "decode returned a tuple; expected one array"),
    ],
)
def test_a_bad_decoder_costs_only_what_needs_it(
    decode: Callable[[Tensor], Any], sentence: str, tiny: TinyDataset
) -> None:
    class Bad(Painter):
        def decode(self, codes: Tensor) -> Any:
            return decode(codes)

    settings = {**ON_PAIRS, "mig.num_train": 500}
    report = scored(Bad(), tiny, "mig,mse,psnr", settings)
    assert report.scores["mig"] is not None
    assert report.values["mse"].status == report.values["psnr"].status == "not applicable"
    assert sentence in report.values["mse"].reason
    assert not report.complete


def full(images: Tensor) -> Tensor:
    """A feature extractor for which memory is always short."""
    raise torch.OutOfMemoryError


def test_an_extractor_that_fails_costs_only_its_own(tiny: TinyDataset) -> None:
    settings = {"mse.num_images": 50, "rfid.num_images": 60, "rfid.features": f"{__file__}:full"}
    report = scored(Painter(), tiny, "mse,rfid", settings)
    assert report.scores["mse"] is not None
    assert "too little memory" in report.values["rfid"].reason


def test_an_extractor_that_is_not_there_is_said_before_any_work(tiny: TinyDataset) -> None:
    settings = {"rfid.num_images": 60, "rfid.features": f"{__file__}:nothing"}
    with pytest.raises(UsageError, match=r"test_made.py has no 'nothing'"):
        scored(Painter(), tiny, "mse,rfid", settings)
    with pytest.raises(UsageError, match="there is no feature extractor called 'inceptoin'; did you mean 'inception'"):
        scored(Painter(), tiny, "mse,rfid", {**settings, "rfid.features": "inceptoin"})
    assert not tiny.served


@pytest.mark.parametrize(("name", "features"), [("fid", "inception@disdiff"), ("fid@disdiff", "inception")])
def test_a_column_is_fed_to_inception_in_one_way(name: str, features: str, tiny: TinyDataset) -> None:
    with pytest.raises(UsageError, match=f"{name} does not look through {features}"):
        scored(Painter(), tiny, name, {f"{name}.features": features})


def test_fewer_images_than_asked(tiny: TinyDataset) -> None:
    report = scored(Painter(), tiny, "mse,psnr", {"mse.num_images": 257, "psnr.num_images": 256})
    assert report.values["mse"].reason == (
        "257 different images are wanted, and there are 256; --set '*.num_images=256'"
    )
    assert report.scores["psnr"] is not None


def test_what_a_protocol_only_offers_is_left_out_where_images_are_few(
    tiny: TinyDataset, small: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate(Painter(), tiny, settings=small, progress=True)
    assert "mse" not in report.scores
    assert "without mse, psnr, ssim: 1,000 different images are wanted, and there are 256" in capsys.readouterr().err


def test_given_rows_have_no_images() -> None:
    codes = np.random.default_rng(0).random((64, 3))
    report = score_codes(codes, TINY.values(torch.arange(64)).numpy(), metrics="mse,mig")
    assert report.values["mse"].reason == "given rows come without a model that makes images"
    assert not report.complete
    assert "mse" not in score_codes(codes, TINY.values(torch.arange(64)).numpy(), metrics="mig").scores


def test_signals_are_no_pictures() -> None:
    class Signals(TinyDataset):
        spec = DatasetSpec(
            name="signals", summary="s", space=FactorSpace(TINY.factors), image_shape=(64, 1), licence="l",
            citation="@misc{s}", homepage="h", dtype="float32",
        )  # fmt: skip

        def images(self, index: Tensor) -> Tensor:
            return super().images(index).flatten(1)[..., None].float() / 255

    class Reader(Painter):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, :3]

    report = scored(Reader(), Signals(), "mse,mig", {"mig.num_train": 500})
    assert report.values["mse"].reason == "it compares pictures, and signals has other observations"


def test_what_is_there_is_not_made_again(tiny: TinyDataset, tmp_path) -> None:
    out = tmp_path / "records.jsonl"
    first = evaluate("pca10", tiny, metrics="mse", settings={"mse.num_images": 50}, out=out)
    tiny.served.clear()
    again = evaluate("pca10", tiny, metrics="mse", settings={"mse.num_images": 50}, out=out)
    assert again.record == first.record
    assert len(out.read_text().splitlines()) == 1


@pytest.mark.parametrize("cause", ["extractor", "failure"])
def test_a_record_is_made_again_where_it_may_come_out_otherwise(
    cause: str, tiny: TinyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extractor's code is not known for sure; what failed may be mended."""
    out, network = tmp_path / "records.jsonl", tmp_path / "net.py"
    body = "def features(images):\n    return images.flatten(1)[:, {}]\n"
    network.write_text(body.format("::4") if cause == "extractor" else "def features(images):\n    raise MemoryError\n")
    settings = {"rfid.num_images": 60, "rfid.features": f"{network}:features"}
    first = scored("pca10", tiny, "rfid", settings, out=out)
    network.write_text(body.format("::2"))
    second = scored("pca10", tiny, "rfid", settings, out=out)
    assert second.scores["rfid"] is not None
    assert second.scores["rfid"] != first.scores["rfid"]
    assert second.record["identity"] != first.record["identity"]


def test_images_that_could_not_be_scored_are_tried_again(tiny: TinyDataset, tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    first = scored("pca10", tiny, "mse", {"mse.num_images": 300}, out=out)
    assert first.values["mse"].status == "not applicable"
    scored("pca10", tiny, "mse", {"mse.num_images": 300}, out=out)
    assert len(out.read_text().splitlines()) == 2


def test_codes_that_depend_on_chance_are_refused_for_images_alone(tiny: TinyDataset) -> None:
    class Chancy(Painter):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + torch.rand(len(images), 1)

    with pytest.raises(DisbenchError, match="depend on the batch it is in, or on chance"):
        scored(Chancy(), tiny)


def test_a_decoder_in_half_of_the_range_is_found_out(tiny: TinyDataset) -> None:
    painter = Painter()

    def encode(images: Tensor) -> Tensor:
        return painter(images / 2 + 0.5)

    encode.decode = lambda codes: painter.decode(codes).clamp(0, 1)  # type: ignore[attr-defined]
    reason = scored(encode, tiny, input_range=(-1, 1)).values["mse"].reason
    assert "decode returned nothing below 0 for 50 images; expected -1 ... 1" in reason


def test_codes_out_needs_codes(tiny: TinyDataset, tmp_path) -> None:
    with pytest.raises(UsageError, match="no metric here is computed from codes; leave it out"):
        scored(Painter(), tiny, codes_out=tmp_path / "codes.npz")
    assert not list(tmp_path.iterdir())


def test_repeats_draw_other_images(tiny: TinyDataset) -> None:
    report = scored(pixels_of(tiny), tiny, "mse", {"mse.num_images": 50}, repeats=3)
    assert len({*report.record["scores"]["mse"]["repeats"]}) == 3


def pixels_of(dataset: TinyDataset) -> Painter:
    """A painter that errs by what it paints."""

    class Uneven(Painter):
        def decode(self, codes: Tensor) -> Tensor:
            return super().decode(codes) * 0.9

    return Uneven()


def test_the_shipped_checkpoint_decodes_and_generates() -> None:
    model = disbench.load_model("beta_vae-rooms3d")
    assert model.decode is not None
    assert model.generate is not None
    assert model.generated_from == "codes drawn from the prior N(0, 1)"
    with torch.no_grad():
        images, again = (model.generate(3, torch.Generator().manual_seed(0)) for _ in range(2))
    assert images.shape == (3, 3, 64, 64)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert torch.equal(images, again)


def test_linear_reconstructions_are_the_best_of_their_kind(tiny: TinyDataset) -> None:
    """pca10 goes back to the nearest point of its ten axes."""
    model = disbench.load_model("pca10").fitted(tiny)
    images = tiny.images(torch.arange(len(tiny))).permute(0, 3, 1, 2).float() / 255
    assert model.decode is not None
    with torch.no_grad():
        found = mse(images, model.decode(model(images))).values["mse"]
    centred = images.flatten(1) - images.flatten(1).mean(0)
    left = torch.linalg.svdvals(centred)[10:].square().sum() / images.numel()
    assert 0 < found <= float(left)  # clipping to [0, 1] can only help


class Tokens(Painter):
    def forward(self, images: Tensor) -> Tensor:
        codes = super().forward(images)
        return torch.stack([codes, codes**2], dim=2)


def test_metrics_that_take_tokens_beside_those_that_do_not(tiny: TinyDataset) -> None:
    """Each image is encoded once for both, and the codes are those without the other metric."""
    names = tuple(f"bit{k}" for k in range(8))
    spec = DatasetSpec(
        name="bits", summary="s", space=FactorSpace(tuple(Factor(n, 2) for n in names)),
        image_shape=(8, 8, 1), licence="l", citation="@misc{s}", homepage="h",
    )  # fmt: skip

    class Bits(TinyDataset):
        def factors(self, index: Tensor) -> Tensor:
            return self.spec.space.values(index)

    Bits.spec = spec
    bits, calls = Bits(), []

    def encode(images: Tensor) -> Tensor:
        calls.append(len(images))
        return Tokens()(images)

    settings = {"tad.num_train": 100, "mig.num_train": 300}
    both = evaluate(encode, bits, protocol="encdiff2024", metrics="mig,tad", settings=settings)
    assert sum(calls) == len(bits) + 32 + 2  # each once, the probe again, and a look whether there are tokens
    alone = evaluate(encode, bits, protocol="encdiff2024", metrics="mig", settings={"mig.num_train": 300})
    assert both.scores["mig"] == alone.scores["mig"]
    metrics = both.record["key"]["metrics"]
    assert metrics["tad"]["reducer"] is None
    assert "reducer" not in metrics["mig"]
    assert both.record["key"]["reducer"] == "pca_all"
    flat = evaluate(encode, bits, metrics="mig,tad", settings=settings, reducer="flatten")
    assert "reducer" not in flat.record["key"]["metrics"]["tad"]
    for options in ({"metrics": "mig,tad"}, {"metrics": "mig"}):
        chosen = {name: number for name, number in settings.items() if name.split(".")[0] in options["metrics"]}
        with pytest.raises(DisbenchError, match=r"the model returned tokens .* name a reducer"):
            evaluate(encode, bits, settings=chosen, **options)
    only = evaluate(encode, bits, metrics="tad", settings={"tad.num_train": 100})
    assert only.scores["tad"] == both.scores["tad"]
    assert only.record["key"]["reducer"] is None
    under = evaluate(encode, bits, protocol="encdiff2024", metrics="tad", settings={"tad.num_train": 100})
    assert under.record["key"]["reducer"] is None  # nobody reads reduced codes
