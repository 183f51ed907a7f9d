"""`disbench show` as a user types it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from disbench import checkpoint, registry
from disbench.cli import main
from disbench.settings import override

TILE, LABEL, NARROW = 66, 150, 52
SMALL = {"width": 8, "encoder_width": 8, "first_stage_width": 8, "codebook_size": 8, "sampling_steps": 2, "n_codes": 3}
VAE = "beta_vae-rooms3d"


def run_of(folder: Path, name: str, trained: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """The folder of a run that was never trained."""
    entry = registry.models()[name]
    config = override(entry.config(), changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: Any = entry.build(config)
    if "space.scale" in module.state_dict():
        module.space.scale.fill_(1)
    out = folder / f"{name}-run"
    out.mkdir()
    content = {key: value for key, value in vars(config).items() if isinstance(value, int | float | str)}
    weights = {key: value.half() if value.is_floating_point() else value for key, value in module.state_dict().items()}
    train = {"dataset": "rooms3d"} if trained is None else trained
    checkpoint.save(checkpoint.Checkpoint(name, content, weights, train), out / "ckpt.pt")
    return out


def show(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    status = main(["show", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


def size_of(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_vae_shows_all_but_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, paths, _ = show(VAE, "--images", "3", "--device", "cpu", capsys=capsys)
    assert (status, paths) == (0, ["reconstructions.png", "traversals.png", "swaps.png"])
    assert size_of("reconstructions.png") == (LABEL + 3 * TILE, 2 * TILE)
    assert size_of("traversals.png") == (LABEL + 3 * TILE, 11 * TILE)
    assert size_of("swaps.png") == (NARROW + 14 * TILE, 17 + 3 * TILE)
    before = [Path(path).read_bytes() for path in paths]
    assert show(VAE, "--images", "3", "--device", "cpu", "--out", "again", capsys=capsys)[0] == 0
    assert [(tmp_path / "again" / path).read_bytes() for path in paths] == before
    assert show(VAE, "--images", "3", "--device", "cpu", "--seed", "1", capsys=capsys)[0] == 0
    assert all(Path(path).read_bytes() != content for path, content in zip(paths, before, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*paths, "again"])


@pytest.mark.parametrize("tokens", ["scalars", "vectors"])
def test_encdiff_shows_its_attention_too_beside_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokens: str
) -> None:
    run = run_of(tmp_path, "encdiff", **SMALL, tokens=tokens)
    status, paths, err = show(run / "ckpt.pt", "--images", "2", "--steps", "1", "--device", "cpu", capsys=capsys)
    assert (status, paths) == (
        0,
        [str(run / f"{what}.png") for what in ("reconstructions", "traversals", "swaps", "attention")],
    )
    assert "attention: 100%" in err
    assert size_of(run / "traversals.png") == (LABEL + 2 * TILE, 4 * TILE)
    assert size_of(run / "attention.png") == (NARROW + 8 + 5 * TILE, 34 + 2 * TILE)


def test_disdiff_shows_its_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, "disdiff", **SMALL)
    words = ("--what", "swaps, traversals,swaps", "--images", "2", "--eta", "1", "--device", "cpu")
    status, paths, _ = show(run, *words, capsys=capsys)
    assert (status, paths) == (0, [str(run / "swaps.png"), str(run / "traversals.png")])


def test_a_first_stage_and_ldm_are_reconstructed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vq = run_of(tmp_path, "vq", width=8, codebook_size=8, adversary_filters=8, perceptual_weight=0.0)
    ldm = run_of(tmp_path, "ldm", **{key: SMALL[key] for key in ("width", "first_stage_width", "codebook_size")})
    for run in (vq, ldm):
        assert show(run, "--device", "cpu", capsys=capsys)[1] == [str(run / "reconstructions.png")]
        status, _, err = show(run, "--what", "traversals", capsys=capsys)
        assert status == 2
        assert "has no traversals: what it returns is no representation" in err
        status, _, err = show(run, "--steps", "3", capsys=capsys)
        assert status == 2
        assert "decodes without sampling; leave out --steps" in err


OWN = """
import torch

def codes(images):
    return images.mean((2, 3))

class Grey(torch.nn.Module):
    def forward(self, images):
        print("a line that is no data")
        return images.mean((2, 3))

    def decode(self, codes):
        return codes[:, :, None, None].expand(-1, -1, 64, 64)

grey = Grey()
"""


def test_a_model_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    words = ("--dataset", "rooms3d", "--what", "swaps")
    assert show("own.py:grey", *words, capsys=capsys)[:2] == (0, ["swaps.png"])
    status, _, err = show("own.py:codes", *words, capsys=capsys)
    assert status == 2
    assert "own.py:codes has no decode(codes)" in err
    assert show("own.py:codes", "--dataset", "rooms3d", capsys=capsys)[0] == 2
    status, _, err = show("own.py:grey", capsys=capsys)
    assert status == 2
    assert "name the --dataset" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([VAE, "--what", "traversal"], "there is no sheet called 'traversal'; did you mean 'traversals'?"),
        ([VAE, "--what", ","], "--what names sheets"),
        ([VAE, "--what", "attention"], "beta_vae-rooms3d has no attention to show"),
        ([VAE, "--steps", "10", "--eta", "1"], "decodes without sampling; leave out --steps and --eta"),
        ([VAE, "--dataset", "dsprites_regen"], "trained on images of 64 x 64 x 3 (rooms3d); those of"),
        ([VAE, "--dataset", "room3d"], "there is no data set called 'room3d'; did you mean 'rooms3d'?"),
        ([VAE, "--images", "1"], "the number of images of traversals must lie in 2 ... 100; got 1"),
        ([VAE, "--images", "0"], "must lie in 1 ... 100; got 0"),
        ([VAE, "--seed", "-1"], "--seed must lie in 0"),
        ([VAE, "--device", "abacus"], "device 'abacus' cannot be used here"),
        ([VAE, "--out", "file/sheets"], "cannot be made"),
        (["beta_vae-room3d"], "did you mean 'beta_vae-rooms3d'"),
        (["empty"], "empty is no folder of a run: it holds no ckpt.pt"),
        (["begun"], "begun holds an unfinished run, without a ckpt.pt; go on with: disbench train --resume begun"),
        (["nowhere/ckpt.pt"], "there is no model file at nowhere/ckpt.pt"),
    ],
)
def test_wrong_usage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text(json.dumps({"model": "beta_vae"}))
    (tmp_path / "file").touch()
    status, out, err = show(*words, capsys=capsys)
    assert status == 2
    assert message in err
    assert not out
    assert not list(tmp_path.rglob("*.png"))


def test_fresh_noise_is_the_same_in_all_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, "encdiff", **SMALL)  # its denoiser predicts 0 whatever the codes are
    rows = []
    for eta in ("0", "1"):
        words = ("--what", "reconstructions", "--images", "3", "--eta", eta, "--device", "cpu")
        assert show(run, *words, capsys=capsys)[0] == 0
        with Image.open(run / "reconstructions.png") as picture:
            rows.append(torch.from_numpy(np.asarray(picture)[TILE : TILE + 64, LABEL:].copy()))
    for row in rows:
        assert (row[:, :64] == row[:, TILE : TILE + 64]).all()
    assert (rows[0] != rows[1]).any()


def test_wrong_sampling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, "encdiff", **SMALL, conditioning="adagn")
    for words, message in [
        (("--steps", "0"), "sampling_steps must be at least 1"),
        (("--steps", "1001"), "steps of sampling must lie in 1 ... 1000; got 1001"),
        (("--eta", "1.5"), "must lie in 0 ... 1; got 1.5"),
        (("--what", "attention"), "encdiff-run has no attention to show"),
    ]:
        status, _, err = show(run, *words, capsys=capsys)
        assert status == 2
        assert message in err


def test_a_model_trained_on_ones_own_file_needs_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, "beta_vae", {"dataset": "mine"})
    status, _, err = show(run, capsys=capsys)
    assert status == 2
    assert "it was trained on 'mine', which has no name here" in err
    words = ("--dataset", "rooms3d", "--what", "reconstructions", "--device", "cpu")
    assert show(run, *words, capsys=capsys)[:2] == (0, [str(run / "reconstructions.png")])
    status, _, err = show(run, "--dataset", "dsprites_regen", "--device", "cpu", capsys=capsys)
    assert status == 1
    assert "the model raised RuntimeError on images float32" in err
