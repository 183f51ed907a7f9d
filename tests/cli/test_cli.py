"""The command line, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import disbench
from disbench import cli, registry
from disbench.cli import main
from tests.conftest import FACTORS_OF_TINY, SMALL_LOCATELLO

QUICK = [word for path, value in SMALL_LOCATELLO.items() for word in ("--set", f"{path}={value}")]
MODEL = """
import torch

generator = torch.Generator().manual_seed(0)
weights = torch.randn(3 * 64 * 64, 6, generator=generator)

def encode(images):
    return images.flatten(1) @ weights

def numpy_encode(images):
    return images.reshape(len(images), -1) @ weights.numpy()

def tokens(images):
    return encode(images).view(-1, 3, 2)

def fails(images):
    raise ValueError("the weights are missing")

def prints(images):
    print("a line of the model's own")
    return encode(images)

def terminated(images):
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
    return encode(images)

def nothing_finite(images):
    return encode(images) * float("nan")

def random(images):
    return torch.randn(len(images), 4)

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    codes = FACTORS_OF_TINY.float().numpy() + 0.01 * np.arange(len(FACTORS_OF_TINY))[:, None]
    np.savez("codes.npz", codes=codes, factors=FACTORS_OF_TINY, test_codes=codes, test_factors=FACTORS_OF_TINY)
    np.savez("train_only.npz", codes=codes[:100], factors=FACTORS_OF_TINY[:100])
    (tmp_path / "fails.py").write_text("1 / 0")
    (tmp_path / "exits.py").write_text("raise SystemExit(5)")
    np.save("array.npy", codes)
    np.savez("no_factors.npz", codes=codes)
    np.savez("objects.npz", codes=np.array([{}, {}]), factors=FACTORS_OF_TINY)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing more")
    return tmp_path


def score(*words: str) -> list[str]:
    return ["score", "--model", "model.py:encode", "--dataset", "rooms3d", *QUICK, *words]


def test_score_prints_the_table_on_stdout_and_progress_on_stderr(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(score()) == 0
    out, err = capsys.readouterr()
    for text in ("model.py:encode on rooms3d", "dci.informativeness", "higher is better", "encoded once", "seconds"):
        assert text in out
    assert "encode:" in err
    assert "score dci" in err
    assert "%|" not in out


def test_json_is_the_record_on_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(few("--json")) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    record = json.loads(out)
    assert record["schema"] == "disbench.record/1"
    assert record["run"]["command"].startswith("disbench score --model model.py:encode --dataset rooms3d")


def test_what_a_model_prints_goes_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([w.replace("model.py:encode", "model.py:prints") for w in few("--json")]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"]["name"] == "model.py:prints"
    assert "a line of the model's own" in err


def few(*words: str) -> list[str]:
    return [
        "score",
        "--model",
        "model.py:encode",
        "--dataset",
        "rooms3d",
        "--metrics",
        "mig",
        "--set",
        "mig.num_train=99",
        *words,
    ]


def test_codes_out_can_be_scored_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(few("--codes-out", "kept.npz", "--out", "results.jsonl")) == 0
    kept = np.load("kept.npz")
    assert kept["codes"].shape == (len(kept["index"]), 6)
    space = registry.load_dataset("rooms3d").spec.space
    assert np.array_equal(space.index(torch.from_numpy(kept["factors"])).numpy(), kept["index"])
    assert len(Path("results.jsonl").read_text().splitlines()) == 1
    assert main(["score", "--codes", "kept.npz", "--metrics", "mig"]) == 0
    assert "given rows" in capsys.readouterr().out


def test_options_reach_the_evaluation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = few("--input-range", "-1,1", "--eval-seed", "3", "--repeats", "2", "--batch-size", "40", "--json")
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["sample"]["eval_seeds"] == [3, 4]
    assert record["model"]["input_range"] == [-1, 1]
    assert record["key"]["protocol"]["name"] == "locatello2019+custom"
    swapped = [w.replace("model.py:encode", "model.py:numpy_encode") for w in few("--array", "numpy")]
    assert main(swapped) == 0
    tokens = [w.replace("model.py:encode", "model.py:tokens") for w in few("--reducer", "flatten")]
    assert main(tokens) == 0


def test_score_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few_stages = ["--set", "dci.stages=3"]
    assert main(["score", "--codes", "codes.npz", *few_stages]) == 0
    assert "factor_vae" in capsys.readouterr().out
    assert main(["score", "--codes", "train_only.npz", *few_stages]) == 1
    out = capsys.readouterr().out
    assert "dci.informativeness is undefined: it is an accuracy on test samples" in out
    assert "beta_vae, factor_vae are not applicable: it needs every combination" in out
    assert main(["score", "--codes", "train_only.npz", "--metrics", "mig"]) == 0
    assert main(["score", "--codes", "train_only.npz", "--metrics", "factor_vae"]) == 1


WRONG = {
    "unknown model": (["--model", "beta_vae-room3d", "--dataset", "rooms3d"], 2, "did you mean 'beta_vae-rooms3d'?"),
    "unknown data set": (["--model", "model.py:encode", "--dataset", "room3d"], 2, "did you mean 'rooms3d'?"),
    "unknown metric": (few("--metrics", "mgi")[1:], 2, "did you mean 'mig'?"),
    "unknown protocol": (few("--protocol", "quik")[1:], 2, "did you mean 'quick'?"),
    "unknown setting": (few("--set", "mig.bin=3")[1:], 2, "did you mean 'bins'?"),
    "no setting": (few("--set", "mig.bins")[1:], 2, "expected NAME=VALUE"),
    "unknown reducer": (few("--reducer", "pac")[1:], 2, "did you mean 'pca'?"),
    "unknown device": (few("--device", "gpu7")[1:], 2, "cannot be used here"),
    "input range": (few("--input-range", "1,-1")[1:], 2, "must rise"),
    "no input range": (few("--input-range", "one")[1:], 2, "as -1,1"),
    "idle options": (["--codes", "codes.npz", "--device", "cpu", "--trust"], 2, "leave out --device, --trust"),
    "missing module": (["--model", "no_such.module:encode", "--dataset", "rooms3d"], 2, "no module 'no_such'"),
    "import fails": (
        ["--model", "fails.py:encode", "--dataset", "rooms3d"],
        1,
        "ZeroDivisionError",
    ),
    "import exits": (
        ["--model", "exits.py:encode", "--dataset", "rooms3d"],
        1,
        "SystemExit: 5",
    ),
    "not an npz": (["--codes", "array.npy"], 1, "cannot be read as an npz file"),
    "no data set": (["--model", "model.py:encode"], 2, "needs a --dataset"),
    "missing checkpoint": (["--model", "no/such.pt", "--dataset", "rooms3d"], 2, "no model file at no/such.pt"),
    "missing file": (["--model", "no_such.py:encode", "--dataset", "rooms3d"], 2, "no Python file at no_such.py"),
    "missing callable": (["--model", "model.py:encod", "--dataset", "rooms3d"], 2, "did you mean 'encode'"),
    "no callable": (["--model", "model.py:number", "--dataset", "rooms3d"], 2, "is not callable"),
    "file without callable": (["--model", "model.py", "--dataset", "rooms3d"], 2, "model.py:CALLABLE"),
    "missing codes": (["--codes", "no.npz"], 2, "no file at no.npz"),
    "codes and data set": (["--codes", "codes.npz", "--dataset", "rooms3d"], 2, "needs no model; leave out --dataset"),
    "no factors": (["--codes", "no_factors.npz"], 1, "lacks the array factors"),
    "pickled objects": (["--codes", "objects.npz"], 1, "cannot be read as an npz file of plain arrays"),
    "broken codes": (["--codes", "broken.npz"], 1, "cannot be read as an npz file of plain arrays"),
    "raises": (["--model", "model.py:fails", "--dataset", "rooms3d"], 1, "ValueError"),
    "not finite": (["--model", "model.py:nothing_finite", "--dataset", "rooms3d"], 1, "must be finite"),
    "chance": (["--model", "model.py:random", "--dataset", "rooms3d"], 1, "or on chance"),
    "tokens": (["--model", "model.py:tokens", "--dataset", "rooms3d"], 1, "name a reducer"),
    "no data": (["--model", "model.py:encode", "--dataset", "sprites"], 2, "--data-dir"),
    "random bytes": (["--model", "broken.npz", "--dataset", "rooms3d"], 1, "cannot be read as a checkpoint"),
    "empty folder": (["--model", ".", "--dataset", "rooms3d"], 2, "holds no ckpt.pt"),
    "meta device": (few("--device", "meta")[1:], 2, "cannot be used here"),
    "folder as output": (few("--out", ".")[1:], 2, "it is a folder or a device"),
    "device as output": (few("--out", "/dev/null")[1:], 2, "it is a folder or a device"),
    "unwritable": (few("--out", "model.py/results.jsonl")[1:], 2, "cannot be opened for writing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_with_one_sentence(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    words, status, sentence = WRONG[name]
    before = sorted(folder.rglob("*"))
    outputs = ["--out", "new.jsonl"] if "--out" not in words else []
    outputs += ["--codes-out", "new.npz"] if "--codes" not in words else []
    assert main(["score", *words, *outputs]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("disbench: ")
    left_over = [path for path in sorted(folder.rglob("*")) if path not in before and "__pycache__" not in str(path)]
    assert left_over == []


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "--model", "model.py:fails", "--dataset", "rooms3d"]
    for with_debug in ([*words, "--debug"], ["--debug", *words]):
        assert main(with_debug) == 1
        assert "Traceback" in capsys.readouterr().err
    assert main(words) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_outputs_that_would_destroy_something_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(few("--out", "both.x", "--codes-out", "both.x")) == 2
    assert "cannot both go" in capsys.readouterr().err
    assert main(["datasets", "show", "rooms3d", "--out", "."]) == 2
    Path("link.npz").symlink_to("target.npz")
    assert main(few("--codes-out", "link.npz")) == 0
    assert Path("link.npz").is_symlink()
    assert "codes" in np.load("target.npz")


def test_neighbours_of_a_model_file_and_packages_here_are_found(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "inner.py").write_text(
        "def encode(images):\n    from neighbour import codes\n    return codes(images)"
    )
    (folder / "neighbour.py").write_text("def codes(images):\n    return images.flatten(1)[:, 2000:2004]")
    words = [w.replace("model.py:encode", "package.inner:encode") for w in few()]
    assert main(words) == 0


@pytest.mark.parametrize("words", [[], ["scor"], ["score"], ["score", "--no-such-option"], ["list"], ["datasets"]])
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_interruption_has_no_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_list", interrupted)
    assert main(["list", "metrics"]) == 130
    assert capsys.readouterr().err == "disbench: interrupted.\n"


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("metrics", [v.name for m in registry.metrics().values() for v in m.values]),
        ("datasets", list(registry.datasets())),
        ("models", [*registry.checkpoints(), *registry.models()]),
        ("protocols", ["locatello2019", "quick"]),
    ],
)
def test_lists(what: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    assert [name for name in names if name not in out] == []


def test_datasets_show_draws_a_sheet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "rooms3d", "--out", "new/grid.png"]) == 0
    assert capsys.readouterr().out == "new/grid.png\n"
    with Image.open("new/grid.png") as sheet:
        assert sheet.size == (150 + 15 * 66, 8 * 66)
        pixels = np.array(sheet)
    # The traversal of the floor's hue: ten pictures, the same but for the floor, and then paper.
    row = pixels[2 * 66 : 2 * 66 + 64]
    first, second = row[:, 150:214], row[:, 216:280]
    assert (first[:30] == second[:30]).all()
    assert (first[50:] != second[50:]).any()
    assert (row[:, 150 + 10 * 66 :] == 255).all()


def test_help_and_version_come_without_torch() -> None:
    """Speed is not timed here; torch, the slowest import by far, must not be among them."""
    for words in (["--help"], ["score", "--help"], ["--version"]):
        code = (
            "import sys, disbench.cli\n"
            f"try: disbench.cli.main({words})\n"
            "except SystemExit as e: assert e.code == 0\n"
            "assert not {'torch', 'numpy', 'sklearn', 'pandas'} & sys.modules.keys()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"disbench {disbench.__version__}\n"


def test_python_dash_m(folder: Path) -> None:
    words = [sys.executable, "-m", "disbench", "score", "--codes", "train_only.npz", "--metrics", "mig"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mig" in done.stdout


def test_termination_leaves_nothing_and_is_not_laid_to_the_model(folder: Path) -> None:
    words = [
        w.replace("model.py:encode", "model.py:terminated") for w in few("--out", "r.jsonl", "--codes-out", "c.npz")
    ]
    done = subprocess.run([sys.executable, "-m", "disbench", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stderr.endswith("disbench: terminated.\n")
    assert not list(folder.glob("r.jsonl*")) + list(folder.glob("c.npz*"))
