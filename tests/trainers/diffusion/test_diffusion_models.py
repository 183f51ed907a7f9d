"""The diffusion models put together: sizes, what moves, losses against plain ones, latents encoded once."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from disbench import UsageError, checkpoint
from disbench.errors import Stopped
from disbench.models import load_model
from disbench.registry import load_dataset, models
from disbench.settings import override
from reference_models.diffusion import latents
from reference_models.diffusion.alone import encoder_alone
from reference_models.diffusion.latents import LatentSpace, first_stage_at
from reference_models.training import build, train

DATASET = load_dataset("xysquares")
SMALL = {"batch_size": 4, "steps": 2}
FOUND = ("first_stage", "first_stage_width", "codebook_size", "first_stage_hash")
MODELS = ["ldm", "encdiff", "disdiff"]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A first stage, and an ldm on it, hardly trained: what is set in a config to start from them."""
    folder = tmp_path_factory.mktemp("before")
    stage = run("vq", folder / "vq", {"adversary_weight": 0.0})
    return {"first_stage": str(stage), "ldm": str(run("ldm", folder / "ldm", {"first_stage": str(stage)}))}


def small(name: str, changes: dict[str, Any]) -> Any:
    entry = models()[name]
    return override(entry.config(), {**entry.presets["tiny"], **SMALL, **changes})


def run(name: str, out: Path, changes: dict[str, Any]) -> Path:
    return train(name, small(name, changes), DATASET, train_seed=0, out=out, progress=False, score=None)


def start_of(name: str, before: dict[str, str]) -> dict[str, str]:
    return {"ldm": before["ldm"]} if name == "disdiff" else {"first_stage": before["first_stage"]}


def built(name: str, before: dict[str, str], **changes: Any) -> Any:
    model, _ = build(name, small(name, start_of(name, before) | changes), DATASET, 0)
    return model


def images_of(n: int) -> Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(n))


def drawn_for(model: Any, n: int) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = model.draw(n, torch.Generator().manual_seed(1))
    return drawn


def numbers(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        encdiff, ldm, disdiff = (
            models()[name].build(models()[name].config()) for name in ("encdiff", "ldm", "disdiff")
        )
    assert numbers(encdiff) == 42_322_005  # the paper prints 42.3 M
    parts = (encdiff.space, encdiff.denoiser, encdiff.encoder.body, encdiff.encoder.to_tokens)
    assert [numbers(part) for part in parts] == [
        3_478_078, 37_469_635, 1_164_052, 210_240,
    ]  # fmt: skip
    assert [numbers(part) for part in (ldm.space, ldm.denoiser)] == [3_478_078, 29_422_467]
    assert numbers(disdiff.branch) == 22_738_691
    assert round(numbers(disdiff) / 1e6, 2) == 57.16  # EncDiff's paper prints 57.1 M


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"n_codes": 5}, 42_322_005 - 15 * (2_048 + 1) - 15 * 210_240 // 20),
        ({"token_width": 32}, 42_322_005 + 37_549_507 - 37_469_635 + 20 * 129 * 16),
        ({"tokens": "vectors"}, 42_322_005 - 210_240 + 300 * 2_049),
        ({"conditioning": "adagn"}, 42_322_005 - 37_469_635 + 29_422_467 + 321 * 256),
        ({"space": "pixel"}, 42_322_005 - 3_478_078),
        ({"schedule": "cosine"}, 42_322_005),
    ],
)
def test_rows_of_the_papers_tables_are_settings(changes: dict[str, Any], count: int) -> None:
    entry = models()["encdiff"]
    with torch.device("meta"):
        assert numbers(entry.build(override(entry.config(), changes))) == count


@pytest.mark.parametrize("preset", ["encdiff-code", "encdiff-paper", "cpu-hour", "tiny", "gpu-minutes", "paper"])
def test_presets_of_encdiff_are_built(preset: str) -> None:
    entry = models()["encdiff"]
    with torch.device("meta"):
        assert numbers(entry.build(override(entry.config(), entry.presets[preset])).denoiser) > 0


@pytest.mark.parametrize(
    ("name", "moving"),
    [("ldm", {"denoiser"}), ("encdiff", {"denoiser", "encoder"}), ("disdiff", {"encoder", "branch"})],
)
def test_what_is_trained_moves_and_what_is_frozen_does_not(name: str, moving: set[str], before: dict[str, str]) -> None:
    changes = start_of(name, before) | {"steps": 3, "warmup_steps": 0, "ema": 0.0, "disentangling_weight": 1.0}
    if name != "disdiff":
        del changes["disentangling_weight"]
    model, _ = build(name, small(name, changes), DATASET, 0)
    first = {key: value.clone() for key, value in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameter_groups(), lr=1e-2)
    model.train()
    for step in range(3):
        optimiser.zero_grad()
        model.losses(images_of(4), drawn_for(model, 4), step)["loss"].backward()
        optimiser.step()
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, first[key])}
    assert {key.partition(".")[0] for key in moved} == moving
    for key, value in model.named_parameters():
        if key.partition(".")[0] in moving:
            assert key in moved, key
        else:
            assert value.grad is None
            assert not value.requires_grad
    assert not any(module.training for module in model.space.modules())


def test_an_untrained_denoiser_leaves_the_noise_as_the_loss(before: dict[str, str]) -> None:
    for name, loss, expected in (
        ("ldm", "l1", lambda noise: noise.abs().mean()),
        ("encdiff", "l2", lambda noise: noise.square().mean()),
    ):
        model = built(name, before, loss=loss)
        drawn = drawn_for(model, 4)
        assert model.denoiser.decoder.out.weight.abs().sum() == 0
        terms = model.losses(images_of(4), drawn, 0)
        assert terms["loss"].item() == pytest.approx(expected(drawn["noise"]).item(), abs=1e-6)


def plain_disentangling(
    model: Any, images: Tensor, drawn: dict[str, Tensor]
) -> tuple[list[float], list[float], Tensor]:
    """Invariant and variant loss and weight, image by image and unit by unit, as models.md has the formulas."""
    schedule = model.schedule
    products = schedule.alphas_cumprod
    units = model(images).detach()
    clean_latents = model.space.encode(images)
    invariant, variant, weights = [], [], []
    for k in range(len(images)):
        t = int(drawn["timesteps"][k])
        c = int(drawn["unit"][k])
        noisy = products[t].sqrt() * clean_latents[k] + (1 - products[t]).sqrt() * drawn["noise"][k]
        noisy = noisy.float()[None]
        step = drawn["timesteps"][k : k + 1]
        embedding = model.denoiser.embedding(step)
        features = model.denoiser.encode(noisy, embedding)
        before = model.denoiser.decode(features, embedding)
        shifts = model.branch(features, embedding, units[k : k + 1])[0]
        moved = before - float((1 - products[t]).sqrt()) * shifts[c]
        pair = [(noisy - float((1 - products[t]).sqrt()) * e) / float(products[t].sqrt()) for e in (before, moved)]
        model.encoder.eval()
        found, found_moved = (
            model.encoder.body(model.space.stage.reconstruct(x / model.space.scale, quantise=False)).view(
                units.shape[1:]
            )
            for x in pair
        )
        model.encoder.train()
        logits = (found - found_moved).norm(dim=1)
        invariant.append(float(-F.log_softmax(logits, 0)[c]))
        logits = (found - units[k]).norm(dim=1) - (found_moved - units[k]).norm(dim=1)
        variant.append(float(-F.log_softmax(logits, 0)[c]))
        weights.append(((pair[0] - pair[1]) ** 2).mean())
    return invariant, variant, torch.stack(weights)


def test_disdiffs_loss_is_the_plain_one(before: dict[str, str]) -> None:
    model = built("disdiff", before, disentangling_weight=0.3)
    with torch.no_grad():
        for part in (model.denoiser.decoder.out, model.branch.decoder.out):
            part.weight.normal_(std=0.05)
    model.eval()
    images = images_of(5)
    drawn = drawn_for(model, 5) | {"timesteps": torch.tensor([3, 100, 250, 400, 600])}
    with torch.no_grad():
        terms = model.losses(images, drawn, 0)
        invariant, variant, weights = plain_disentangling(model, images, drawn)
    assert terms["invariant"].item() == pytest.approx(sum(invariant) / 5, rel=1e-4)
    assert terms["variant"].item() == pytest.approx(sum(variant) / 5, rel=1e-4)
    expected = (0.3 * weights * torch.tensor([i + v for i, v in zip(invariant, variant, strict=True)])).mean()
    assert terms["disentangling"].item() == pytest.approx(expected.item(), rel=1e-3)
    assert terms["loss"].item() == pytest.approx((terms["noise"] + terms["disentangling"]).item(), rel=1e-6)


def test_disdiffs_frozen_denoiser_is_the_ldm(before: dict[str, str]) -> None:
    model, found = built("disdiff", before), checkpoint.load(Path(before["ldm"]))
    assert model.config.ldm == found.content_hash[:16]
    weights = model.state_dict()
    for name, value in found.state_dict.items():
        assert torch.equal(weights[name], value.to(weights[name].dtype)), name
    drawn = drawn_for(model, 3)
    noisy, units = model.noisy(images_of(3), drawn), model(images_of(3))
    predicted, shifts = model.predicted(noisy, drawn["timesteps"], units)
    assert torch.allclose(predicted, model.denoiser(noisy, drawn["timesteps"]), atol=1e-6)
    assert not shifts.any()  # an untrained branch adds nothing
    assert torch.allclose(model.denoise(units)(noisy, drawn["timesteps"]), predicted, atol=1e-6)


@pytest.mark.parametrize("name", ["encdiff", "disdiff"])
def test_decoding_is_the_same_every_time_and_of_every_batch(name: str, before: dict[str, str]) -> None:
    model = built(name, before).eval()
    with torch.no_grad():
        codes = model(images_of(3))
        images = model.decode(codes)
        assert images.shape == (3, 3, 64, 64)
        assert 0 <= images.min() <= images.max() <= 1
        assert torch.allclose(model.decode(codes[1:2]), images[1:2], atol=1e-4)


@pytest.mark.parametrize("alike", [False, True])
def test_what_sampling_feeds_the_denoiser_has_the_spread_of_the_noise(before: dict[str, str], alike: bool) -> None:
    """Of data N(0, 1) the exact prediction is known, and the noisy latents are N(0, 1) at every step."""
    model = built("ldm", before, eta=1.0, sampling_steps=200)
    seen: list[Tensor] = []

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        seen.append(noisy)
        return model.schedule.spread[timesteps].view(-1, 1, 1, 1) * noisy

    model.sample(denoise, 8, torch.Generator().manual_seed(0), alike=alike)
    assert not torch.equal(seen[0], seen[1])
    for noisy in seen:
        assert noisy.std().item() == pytest.approx(1.0, abs=0.12 if alike else 0.06)


def test_samples_depend_on_the_generator_alone(before: dict[str, str]) -> None:
    for name in ("ldm", "encdiff"):
        model = built(name, before, eta=1.0).eval()
        with torch.no_grad():
            first, again, other = (model.generate(2, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_the_codes_that_are_kept_are_those_of_images(before: dict[str, str], tmp_path: Path) -> None:
    path = run("encdiff", tmp_path, {"first_stage": before["first_stage"]})
    kept = checkpoint.load(path).state_dict["kept"]
    assert kept.shape[1] == 20
    assert kept.std(0).min() > 0


def test_tokens_on_request(before: dict[str, str]) -> None:
    model = built("encdiff", before)
    assert model(images_of(2)).shape == (2, 20)
    assert model.tokens(images_of(2)).shape == (2, 20, 16)
    vectors = built("encdiff", before, tokens="vectors", n_codes=6)
    assert torch.equal(vectors.eval()(images_of(2)), vectors.tokens(images_of(2)))
    assert vectors(images_of(2)).shape == (2, 6, 16)


def test_the_scale_makes_latents_of_spread_one(before: dict[str, str]) -> None:
    space = built("ldm", before).space
    index = torch.randint(len(DATASET), (latents.N_FOR_SCALE,), generator=torch.Generator().manual_seed(0))
    encoded = space.encode(DATASET.images(index).permute(0, 3, 1, 2).float() / 255)
    assert encoded.std().item() == pytest.approx(1.0, abs=1e-4)
    pixels = LatentSpace(dataclasses.replace(space.config, space="pixel"))
    assert torch.allclose(pixels.decode(pixels.encode(images_of(2))), images_of(2), atol=1e-6)


def test_a_data_set_is_encoded_once(before: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    few = Few()
    config = small("ldm", {"first_stage": run_on(few, tmp_path), "cache_latents": "yes"})
    model, _ = build("ldm", config, few, 0)
    model.prepare(few, torch.device("cpu"))
    (file,) = (tmp_path / "latents").glob("*.npy")
    written = file.stat().st_mtime_ns
    index = torch.tensor([3, 0, 11])
    images = few.images(index).permute(0, 3, 1, 2).float() / 255
    found = model.look_up(index)
    assert found["latents"].dtype == torch.float16
    # Flat pictures: their normalisation magnifies the rounding of convolutions.
    assert torch.allclose(model.space.of(images, found), model.space.encode(images), atol=0.02)
    again, _ = build("ldm", config, few, 0)
    again.prepare(few, torch.device("cpu"))
    assert file.stat().st_mtime_ns == written
    never, _ = build("ldm", dataclasses.replace(config, cache_latents="no"), few, 0)
    never.prepare(few, torch.device("cpu"))
    assert never.look_up(index) == {}


def test_latents_that_cannot_be_kept(
    before: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Few()
    config = small("ldm", {"first_stage": run_on(few, tmp_path), "cache_latents": "yes"})
    model, _ = build("ldm", config, few, 0)
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    model.prepare(few, torch.device("cpu"))
    (file,) = (tmp_path / "cache" / "latents").glob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:5_000])  # as a crash of the machine leaves it
    left = file.with_name(f"{file.name}.1.part")
    left.touch()
    model.prepare(few, torch.device("cpu"))
    assert file.read_bytes() == whole
    assert not left.exists()
    (tmp_path / "plain").touch()
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "plain"))
    model.prepare(few, torch.device("cpu"))
    assert model.look_up(torch.tensor([0])) == {}
    assert "every batch is encoded anew, as latents cannot be kept" in capsys.readouterr().err


def test_a_signal_while_the_data_set_is_encoded_can_be_gone_on_with(
    before: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    few = Few()
    config = small("ldm", {"first_stage": run_on(few, tmp_path), "cache_latents": "yes"})

    def train_on(dataset: Any) -> Path:
        out = tmp_path / "run"
        return train("ldm", config, dataset, train_seed=0, out=out, progress=False, score=None, resume=True)

    class Stopper(Few):
        def images(self, index: Tensor) -> Tensor:
            if len(index) == len(few):  # the whole of it, when it is encoded
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            return super().images(index)

    with pytest.raises(Stopped, match="stopped before the next step; go on with: disbench train --resume"):
        train_on(Stopper())
    assert not list((tmp_path / "cache" / "latents").glob("*.part"))
    (tmp_path / "vq" / "ckpt.pt").unlink()  # what it started from is in its state
    config = dataclasses.replace(
        config, **{k: v for k, v in json.loads((tmp_path / "run" / "config.json").read_text()).items() if k in FOUND}
    )
    assert checkpoint.load(train_on(few)).train["steps"] == 2


class Few:
    """The first images of a data set, to encode them all."""

    spec = DATASET.spec
    content_hash = "f" * 64

    def __len__(self) -> int:
        return 12

    def factors(self, index: Tensor) -> Tensor:
        return DATASET.factors(index)

    def images(self, index: Tensor) -> Tensor:
        return DATASET.images(index)


def run_on(dataset: Any, folder: Path) -> str:
    config = small("vq", {"adversary_weight": 0.0, "steps": 1})
    return str(train("vq", config, dataset, train_seed=0, out=folder / "vq", progress=False, score=None))


def test_first_stages_that_cannot_be_used(before: dict[str, str], tmp_path: Path) -> None:
    def refused(sentence: str, dataset: Any = DATASET, **changes: Any) -> None:
        with pytest.raises(UsageError, match=sentence):
            build("encdiff", small("encdiff", changes), dataset, 0)

    train_one = "train one with: disbench train vq --dataset xysquares; and name it by --set first_stage=runs/vq-xys"
    refused(f"a first stage is needed, and none is named: {train_one}")
    refused(r"there is no trained model at '.*nowhere'", first_stage=str(tmp_path / "nowhere"))
    refused("holds the model 'ldm', and a first stage is vq or kl", first_stage=before["ldm"])
    refused(
        "was trained on xysquares, and this is xysquares with other content", Few(), first_stage=before["first_stage"]
    )
    grey = load_dataset("dsprites_regen")
    refused(
        "was trained on xysquares, and this is dsprites_regen: train one with: disbench train vq --dataset dsprites",
        grey,
        first_stage=before["first_stage"],
    )
    with pytest.raises(
        UsageError,
        match="what DisDiff starts from is needed, and none is named: train one with: disbench train ldm",
    ):
        build("disdiff", small("disdiff", {}), DATASET, 0)
    with pytest.raises(UsageError, match="there is no trained model at 'runs/ldm-x-seed0'"):
        build("disdiff", small("disdiff", {"ldm": "runs/ldm-x-seed0"}), DATASET, 0)
    with pytest.raises(UsageError, match="the ldm decides schedule, which is 'scaled_linear' there; leave out"):
        build("disdiff", small("disdiff", {"ldm": before["ldm"], "schedule": "cosine"}), DATASET, 0)
    with pytest.raises(UsageError, match="holds the model 'vq', and what DisDiff starts from is ldm"):
        build("disdiff", small("disdiff", {"ldm": before["first_stage"]}), DATASET, 0)


def test_a_run_without_a_state_says_so(before: dict[str, str]) -> None:
    config = dataclasses.replace(built("ldm", before).config)
    model = models()["ldm"].build(config)
    with pytest.raises(UsageError, match="the run has no state to go on from; begin it again"):
        model.prepare(DATASET, torch.device("cpu"))
    model = models()["disdiff"].build(dataclasses.replace(built("disdiff", before).config, space="pixel"))
    with pytest.raises(UsageError, match="the run has no state to go on from; begin it again"):
        model.prepare(DATASET, torch.device("cpu"))


def test_half_precision_leaves_the_schedule_in_full(before: dict[str, str]) -> None:
    model = built("ldm", before)
    drawn = drawn_for(model, 4) | {"timesteps": torch.arange(4)}
    with torch.autocast("cpu", torch.bfloat16):
        noisy = model.noisy(images_of(4), drawn)
        clean = model.space.encode(images_of(4))
    assert noisy.dtype == torch.float32
    assert torch.allclose(noisy, model.schedule.noised(clean, drawn["noise"], drawn["timesteps"]))
    assert clean.dtype == torch.float32


def test_first_stage_at_finds_sizes_and_scale(before: dict[str, str]) -> None:
    config = small("encdiff", {"first_stage": before["first_stage"], "first_stage_width": 32})
    decided, tensors = first_stage_at(config, DATASET)
    assert decided["first_stage"] == "vq"
    assert decided["first_stage_width"] == 8
    assert tensors["scale"] > 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": "latents"}, "there is no space=latents; did you mean 'latent'"),
        ({"loss": "l3"}, "there is no loss=l3"),
        ({"schedule": "cosin"}, "there is no schedule=cosin; did you mean 'cosine'"),
        ({"tokens": "scalar"}, "there is no tokens=scalar; did you mean 'scalars'"),
        ({"conditioning": "adgn"}, "there is no conditioning=adgn; did you mean 'adagn'"),
        ({"width": 12}, "width must be a multiple of 8; got 12"),
        ({"sampling_steps": 2_000}, "steps of sampling must lie in 1 ... 1000; got 2000"),
        ({"eta": 1.5}, "must lie in 0 ... 1; got 1.5"),
        ({"cache_latents": "maybe"}, "there is no cache_latents=maybe"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        override(models()["encdiff"].config(), changes)


@pytest.mark.parametrize(
    ("name", "changes", "shape"),
    [("encdiff", {}, (5, 20)), ("encdiff", {"tokens": "vectors"}, (5, 20, 16)), ("disdiff", {}, (5, 6, 32))],
)
def test_the_encoder_alone_gives_the_same_codes(
    name: str, changes: dict[str, Any], shape: tuple[int, ...], before: dict[str, str], tmp_path: Path
) -> None:
    whole = run(name, tmp_path / "run", start_of(name, before) | changes)
    checkpoint.save(encoder_alone(checkpoint.load(whole)), tmp_path / "alone.pt")
    model, alone = load_model(whole), load_model(tmp_path / "alone.pt")
    with model.ready(torch.device("cpu")), alone.ready(torch.device("cpu")):
        assert model(images_of(5)).shape == shape
        assert torch.equal(model(images_of(5)), alone(images_of(5)))
        if name == "encdiff":
            tokens = load_model(f"{tmp_path / 'alone.pt'}:tokens")
            assert torch.equal(load_model(f"{whole}:tokens")(images_of(5)), tokens(images_of(5)))
    assert alone.decode is None
    assert alone.train == model.train
    assert (tmp_path / "alone.pt").stat().st_size < whole.stat().st_size / 2


def test_what_has_no_encoder_of_its_own_is_refused(before: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="a vq holds no encoder that is a kind of model of its own"):
        encoder_alone(checkpoint.load(Path(before["first_stage"])))
