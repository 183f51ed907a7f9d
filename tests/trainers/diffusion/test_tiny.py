"""The whole way of a diffusion model by the command line, with the presets that are made for it."""

import json
import signal
from pathlib import Path

import pytest

from disbench import records
from disbench.cli import main
from reference_models.stopping import Stopping


def test_first_stage_then_encdiff_resumed_scored_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "vq", "--dataset", "rooms3d", "--preset", "tiny"]) == 0
    stage = Path("runs/vq-rooms3d-seed0")
    assert not (stage / "score.jsonl").exists()  # its latents are no representation
    words = ["train", "encdiff", "--dataset", "rooms3d", "--preset", "tiny", "--set", f"first_stage={stage}"]
    with monkeypatch.context() as patch:
        patch.setattr(Stopping, "wanted", lambda _, step, __: step == 25)
        assert main(words) == 128 + signal.SIGTERM
    run = Path("runs/encdiff-rooms3d-seed0")
    assert f"stopped at step 25; go on with: disbench train --resume {run}" in capsys.readouterr().err
    assert main(["train", "--resume", str(run)]) == 0
    config = json.loads((run / "config.json").read_text())
    assert (config["first_stage"], len(config["first_stage_hash"])) == ("vq", 16)
    (record,) = records.read(run / "score.jsonl")
    assert record["model"]["n_codes"] == 20
    assert record["scores"]["factor_vae"]["status"] == "ok"
    assert main(["show", str(run), "--what", "swaps", "--images", "1", "--steps", "2"]) == 0
    assert (run / "swaps.png").is_file()
    score = ["score", "--model", f"{run}:tokens", "--dataset", "rooms3d", "--metrics", "mig"]
    assert main([*score, "--set", "mig.num_train=200", "--reducer", "pca"]) == 0
    assert "encdiff-rooms3d-seed0:tokens" in capsys.readouterr().out
