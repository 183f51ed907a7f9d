"""The beta-VAE and its training, and that trained models rank as they should."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from disbench import DisbenchError, UsageError, evaluate, records
from disbench.checkpoint import load
from disbench.cli import main
from disbench.registry import load_dataset
from reference_models.batches import Batches
from reference_models.training import TrainConfig, train
from reference_models.vae import BetaVAE, Config
from tests.conftest import TinyDataset

TINY_RUN = ["--dataset", "rooms3d", "--steps", "3", "--set", "batch_size=4"]


def test_initialisation_is_glorot_uniform_with_zero_biases() -> None:
    layer = BetaVAE(Config()).encoder.body[9]  # 1024 -> 256
    weight = layer.weight.detach()
    limit = (6 / (1024 + 256)) ** 0.5
    assert weight.abs().max() <= limit
    assert weight.std() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not layer.bias.any()


def test_train_writes_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "beta_vae", *TINY_RUN, "--set", "beta=2", "--train-seed", "5", "--out", str(tmp_path)]
    assert main(words) == 0
    run = tmp_path / "beta_vae-rooms3d-seed5"
    out, err = capsys.readouterr()
    assert out == f"{run / 'ckpt.pt'}\n"
    assert "train beta_vae" in err
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["dataset"], config["train_seed"]) == ("beta_vae", "rooms3d", 5)
    assert (config["beta"], config["steps"], config["batch_size"]) == (2.0, 3, 4)
    stats = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert stats[-1]["step"] == 3
    assert {"loss", "reconstruction", "kl"} <= stats[-1].keys()
    checkpoint = load(run / "ckpt.pt")
    assert checkpoint.train["train_seed"] == 5
    assert checkpoint.train["command"].startswith("disbench train beta_vae --dataset rooms3d")
    assert all(value.dtype == torch.float16 for value in checkpoint.state_dict.values())
    with Image.open(run / "reconstructions.png") as picture:
        assert picture.size == (150 + 12 * 66, 2 * 66)
    with Image.open(run / "traversals.png") as picture:
        assert picture.size == (150 + 11 * 66, 11 * 66)
    with Image.open(run / "samples.png") as picture:
        assert picture.size == (150 + 12 * 66, 4 * 66)
    (record,) = records.read(run / "score.jsonl")
    assert record["key"]["protocol"]["name"] == "quick"
    assert record["model"]["content_hash"] == checkpoint.content_hash
    environment = json.loads((run / "env.json").read_text())
    assert (environment["device"], environment["versions"]["torch"]) == ("cpu", torch.__version__)
    assert main(words) == 2
    assert "holds a finished run already" in capsys.readouterr().err
    score = ["score", "--model", str(run), "--dataset", "rooms3d", "--metrics", "mig", "--set", "mig.num_train=99"]
    assert main(score) == 0
    assert "beta_vae-rooms3d-seed5 on rooms3d" in capsys.readouterr().out


def test_training_depends_on_the_seed_alone(tmp_path: Path) -> None:
    dataset, config = load_dataset("rooms3d"), Config(steps=2, batch_size=4)
    before = torch.get_rng_state()
    hashes = [
        load(
            train("beta_vae", config, dataset, train_seed=seed, out=tmp_path / str(i), progress=False, score=None)
        ).content_hash
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), before)  # nothing seeds globally


def test_batches_are_uniform_draws() -> None:
    dataset, cpu = load_dataset("rooms3d"), torch.device("cpu")
    model = BetaVAE(Config())
    drawn = [Batches(dataset, model, 8, torch.Generator().manual_seed(seed), cpu) for seed in (0, 0, 1)]
    (pixels, noise, state), again, other = (next(batches) for batches in drawn)
    assert pixels.shape == (8, 64, 64, 3)
    assert pixels.dtype == torch.uint8
    assert torch.equal(again[0], pixels)
    assert not torch.equal(other[0], pixels)
    assert noise["noise"].shape == (8, 10)
    (following, _, _), generator = next(drawn[0]), torch.Generator()
    generator.set_state(state)  # what a batch leaves is where the next begins
    assert torch.equal(next(Batches(dataset, model, 8, generator, cpu))[0], following)


def test_wrong_usage_of_train(tmp_path: Path, tiny: TinyDataset, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["train", "beta_va", *TINY_RUN], "did you mean 'beta_vae'"),
        (["train", "beta_vae", *TINY_RUN, "--set", "betta=2"], "did you mean 'beta'"),
        (["train", "beta_vae", *TINY_RUN, "--set", "beta=high"], "beta is a number"),
        (["train", "beta_vae", "--dataset", "rooms"], "did you mean 'rooms3d'"),
        (["train", "beta_vae", *TINY_RUN, "--device", "gpu"], "cannot be used here"),
        (["train", "beta_vae", *TINY_RUN, "--train-seed", "-1"], "train_seed must lie in 0"),
        (["train", "beta_vae", *TINY_RUN, "--set", "beta=-1"], "beta must be finite and not negative"),
        (["train", "beta_vae", *TINY_RUN, "--set", "n_channels=7"], "images of rooms3d have 3"),
    ):
        assert main([*words, "--out", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DisbenchError, match="64 x 64"):
        train("beta_vae", Config(), tiny, train_seed=0, out=tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match="learning_rate must be above 0"):
        TrainConfig(learning_rate=0)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DisbenchError, match="not finite at step"):
        train(
            "beta_vae", Config(steps=3, batch_size=4, learning_rate=1e18), load_dataset("rooms3d"),
            train_seed=0, out=tmp_path / "run", progress=False,
        )  # fmt: skip
    assert not (tmp_path / "run" / "ckpt.pt").exists()


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A beta-VAE with beta far too large and few steps."""
    config = Config(beta=200.0, steps=40, learning_rate=1e-3)
    out = tmp_path_factory.mktemp("runs") / "poor"
    return train("beta_vae", config, load_dataset("rooms3d"), train_seed=0, out=out, progress=False)


def test_the_shipped_checkpoint_ranks_above_a_poor_one_and_random_codes(poor: Path) -> None:
    settings = {"factor_vae.num_train": 200, "factor_vae.num_eval": 100, "dci.num_train": 500, "dci.stages": 5}
    rooms3d = load_dataset("rooms3d")
    reports = [evaluate(m, rooms3d, protocol="quick", settings=settings) for m in ("beta_vae-rooms3d", poor)]
    good, bad = (report.scores for report in reports)
    for name, value in reports[0].values.items():
        lead = good[name] - bad[name]
        assert (lead if value.spec.direction == "higher" else -lead) > 0.02, name
    projection = torch.randn(3 * 64 * 64, 10, generator=torch.Generator().manual_seed(0))
    floor = evaluate(lambda images: images.flatten(1) @ projection, rooms3d, protocol="quick", metrics="mig").scores
    assert good["mig"] > 3 * floor["mig"]
