"""`disbench fid` as a user types it, with small networks in place of Inception."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from disbench import inception
from disbench.cli import main
from disbench.errors import DisbenchError
from disbench.image_comparison import compare_images

NETWORK = """
import torch

def pooled(images):
    print("a line that is no data")
    return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

def wider(images):
    return torch.nn.functional.adaptive_avg_pool2d(images, 3).flatten(1)

def not_finite(images):
    return pooled(images) / 0 - pooled(images) / 0
"""
POOLED = ("--features", "network.py:pooled")
N = 30


def pixels_of(n: int, brightness: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, brightness, (n, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with 30 real pictures, an npz file of 30 fakes and a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    (tmp_path / "real").mkdir()
    for number, image in enumerate(pixels_of(N, 256, seed=0)):
        Image.fromarray(image).save(tmp_path / "real" / f"{number:02}.png")
    np.savez(tmp_path / "fake.npz", images=pixels_of(N, 200, seed=1))
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["fid", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """Of features (n, d), by the root of a matrix product."""
    from scipy.linalg import sqrtm

    root = sqrtm(np.cov(real.T) @ np.cov(fake.T)).real
    shift = real.mean(0) - fake.mean(0)
    return float(shift @ shift + np.trace(np.cov(real.T)) + np.trace(np.cov(fake.T)) - 2 * np.trace(root))


def quarters(pixels: np.ndarray) -> np.ndarray:
    return (
        (pixels / 255).reshape(len(pixels), 2, 4, 2, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(len(pixels), 12)
    )


def test_the_table_is_all_that_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run("real", "fake.npz", *POOLED, capsys=capsys)
    expected = frechet(quarters(pixels_of(N, 256, 0)), quarters(pixels_of(N, 200, 1)))
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["value", "score", "range", "direction", "meaning"]
    assert lines[2].split()[:2] == ["fid", f"{expected:.4f}"]
    assert "real      real: 30 images, 8 x 8 x 3, content " in out
    assert "fake      fake.npz: 30 images, 8 x 8 x 3, content " in out
    assert "features  network.py:pooled" in out
    assert "no data" not in out
    assert "a line that is no data" in err
    assert "features of real" in err


def test_all_metrics_in_one_line_of_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--metrics", "kid,fid,precision_recall,density_coverage", "--set", "kid.subset_size=10")
    status, out, _ = run(
        "real", "fake.npz", *POOLED, *words, "--num-images", "20", "--seed", "3", "--json", capsys=capsys
    )
    assert status == 0
    (line,) = out.splitlines()
    record = json.loads(line)
    assert record["schema"] == "disbench.image_comparison/1"
    assert {"fid", "precision_recall.recall", "density_coverage.coverage"} < set(record["scores"])
    assert all(entry["status"] == "ok" for entry in record["scores"].values())
    assert record["metrics"]["kid"]["settings"]["subset_size"] == 10
    assert (record["real"]["n"], record["real"]["n_there"], record["seed"]) == (20, N, 3)
    assert record["real"]["content_hash"] != record["fake"]["content_hash"]
    assert record["details"]["fid"]["n_real"] == 20
    assert record["run"]["command"].startswith("disbench fid real fake.npz")
    comparison = compare_images(
        "real", "fake.npz", features="network.py:pooled", num_images=20, seed=3, metrics=["fid"], device="cpu"
    )
    assert comparison.scores["fid"] == record["scores"]["fid"]["value"]
    assert comparison.complete


def test_statistics_stand_for_the_reference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, first, _ = run("real", "fake.npz", *POOLED, "--save-statistics", "real.npz", "--json", capsys=capsys)
    assert status == 0
    with np.load("real.npz") as file:
        np.testing.assert_allclose(file["mu"], quarters(pixels_of(N, 256, 0)).mean(0), rtol=1e-6)
        assert str(file["features"]).startswith("network.py:pooled (")
    status, again, _ = run("real.npz", "fake.npz", *POOLED, "--json", capsys=capsys)
    assert status == 0
    value, other = (json.loads(line)["scores"]["fid"]["value"] for line in (first, again))
    assert value == pytest.approx(other, rel=1e-9)
    status, out, _ = run("real.npz", "real.npz", capsys=capsys)  # without a network
    assert status == 0
    assert "real.npz: statistics of 30 images" in out
    with np.load("real.npz") as file:
        np.savez("foreign.npz", mu=file["mu"], sigma=file["sigma"])
    status, out, err = run("foreign.npz", "fake.npz", *POOLED, "--json", capsys=capsys)
    assert status == 0
    assert json.loads(out)["scores"]["fid"]["value"] == pytest.approx(value, rel=1e-9)
    assert "foreign.npz does not say which features its statistics are of" in err
    _, out, _ = run("foreign.npz", "fake.npz", *POOLED, capsys=capsys)
    assert "foreign.npz: statistics of an unknown number of images" in out


def test_an_undefined_value_is_status_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("real", "fake.npz", *POOLED, "--metrics", "kid", "--num-images", "10")
    status, out, _ = run(*words, capsys=capsys)
    assert status == 1
    assert "kid is undefined: there are 10 images and subsets have 1,000; try --set kid.subset_size=10.\n" in out


def test_statistics_take_the_place_of_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name, sentence in {
        "fake.npz": "fake.npz is read; the statistics go to another file.",
        "network.py": "network.py is read; the statistics go to another file.",
        "notes.txt": "notes.txt is there already and holds no statistics; name another file.",
    }.items():
        status, _, err = run("real", "fake.npz", *POOLED, "--save-statistics", name, capsys=capsys)
        assert status == 2
        assert sentence in err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    for _ in range(2):  # statistics may be written anew
        status, _, err = run("real", "fake.npz", *POOLED, "--save-statistics", "kept.npz", capsys=capsys)
        assert status == 0
        assert "the statistics of real are in kept.npz" in err


def test_an_extractor_that_was_changed_is_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("real", "fake.npz", *POOLED, "--save-statistics", "kept.npz", capsys=capsys)
    with open(folder / "network.py", "a") as file:
        file.write("\n# changed\n")
    status, _, err = run("kept.npz", "fake.npz", *POOLED, capsys=capsys)
    assert status == 1
    assert "they cannot be compared" in err


def test_numbers_of_images_that_matter_are_remarked_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("real", "fake.npz", *POOLED, "--save-statistics", "kept.npz", capsys=capsys)
    assert "fid: " not in out
    _, out, _ = run("kept.npz", "fake.npz", *POOLED, "--num-images", "12", capsys=capsys)
    assert "fid: the sets have 30 and 12 images; it compares only with such a pair." in out
    assert "fid: 12 images are few for 12 features" in out


def test_arrays_are_sets_of_images(folder: Path) -> None:
    fake = np.load("fake.npz")["images"]
    of_file = compare_images("real", "fake.npz", features="network.py:pooled").scores
    assert compare_images("real", fake, features="network.py:pooled").scores == of_file
    assert compare_images("real", torch.from_numpy(fake), features="network.py:pooled").scores == of_file
    with pytest.raises(DisbenchError, match=r"an array of images is uint8 \(n, h, w, c\), grey or RGB; got torch.flo"):
        compare_images("real", fake.astype(np.float32), features="network.py:pooled")


def test_the_seed_reaches_the_metric(folder: Path) -> None:
    options = {"features": "network.py:pooled", "metrics": "kid", "settings": {"kid.subset_size": 5}}
    first, again, other = (compare_images("real", "fake.npz", seed=s, **options).scores["kid"] for s in (0, 0, 1))
    assert first == again != other


def test_the_scripts_scaling_has_its_own_name(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(_: object, pixels: Tensor) -> Tensor:
        return pixels.float().flatten(1)[:, :5]

    from disbench import extractors

    monkeypatch.setattr(inception, "load_weights", lambda path: {})
    monkeypatch.setattr(inception, "build", lambda weights, origin: None)
    monkeypatch.setitem(extractors._RULES, "inception@disdiff", (network, "a rule"))
    (folder / "own.pth").write_bytes(b"")
    weights = ("--weights", "own.pth", "--set", "kid.subset_size=10", "--json")
    status, out, err = run(
        "real", "fake.npz", "--features", "inception@disdiff", "--metrics", "fid,kid", *weights, capsys=capsys
    )
    assert status == 0
    assert "is not the published file" in err
    names = set(json.loads(out)["scores"])
    assert "fid@disdiff" in names
    np.savez("theirs.npz", mu=np.zeros(2), sigma=np.eye(2), features="inception@disdiff (6726825d, a rule)")
    _, alone, _ = run("theirs.npz", "theirs.npz", "--json", capsys=capsys)
    assert set(json.loads(alone)["scores"]) == {"fid@disdiff"}
    assert all("@disdiff" in name for name in names)
    _, named, _ = run("real", "fake.npz", "--metrics", "fid@disdiff", "--weights", "own.pth", "--json", capsys=capsys)
    assert json.loads(named)["scores"]["fid@disdiff"] == json.loads(out)["scores"]["fid@disdiff"]


@pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="needs torch-fidelity: pip install 'disbench[fid]'"
)
def test_without_weights_it_says_which_file_to_put_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run("real", "fake.npz", capsys=capsys)
    assert (status, out) == (2, "")
    assert inception.PUBLISHED in err
    assert str(folder / "cache" / "downloads") in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("real", "fake.npz", *POOLED, "--num-images", "31"), 2, "31 images were asked for, and real has 30."),
        (("real", "fake.npz", *POOLED, "--num-images", "0"), 2, "compared by at least 2 images of each; got 0"),
        (("real", "large.npz", *POOLED), 1, "images of real are 8 x 8 pixels and those of large.npz 12 x 9: they are"),
        (("real", "grey.npz", *POOLED), 1, "images of real are in colour and those of grey.npz grey; compare"),
        (("real", "fake.npz", "--features", "network.py:not_finite"), 1, "image 0 of real are not finite"),
        (("pooled.npz", "fake.npz", *POOLED), 1, "the features of pooled.npz are other.py:pooled, and"),
        (("narrow.npz", "fake.npz", *POOLED), 1, "narrow.npz has 3 features per image and fake.npz 12"),
        (("pooled.npz", "other.npz"), 1, "they cannot be compared"),
        (("pooled.npz", "pooled.npz", "--metrics", "fid@disdiff"), 2, "fid@disdiff is not computed from such statisti"),
        (("narrow.npz", "fake.npz", *POOLED, "--metrics", "fid,kid"), 2, "kid looks at the features of every image"),
        (("real", "narrow.npz", *POOLED, "--metrics", "kid"), 2, "narrow.npz holds their statistics only; give the im"),
        (("narrow.npz", "fake.npz", *POOLED, "--save-statistics", "a.npz"), 2, "narrow.npz holds statistics already"),
        (("real", "fake.npz", *POOLED, "--save-statistics", "real/00.png/a.npz"), 2, "cannot be written"),
        (("reel", "fake.npz", *POOLED), 2, "there is no folder, npz file or data set called 'reel'"),
        (("room3d", "fake.npz", *POOLED), 2, "did you mean 'rooms3d'?"),
        (("real", "none.npz", *POOLED), 2, "there is no folder or npz file at none.npz."),
        (("beamsynthesis", "fake.npz", *POOLED), 2, "beamsynthesis has observations 1000 x 1 float32; features are"),
        (("real", "fake.npz", *POOLED, "--metrics", "fidd"), 2, "no metric on features called 'fidd'; did you mean 'f"),
        (("real", "fake.npz", *POOLED, "--metrics", "mig"), 2, "no metric on features called 'mig'"),
        (("real", "fake.npz", *POOLED, "--metrics", ","), 2, "no metric was asked for; known: "),
        (("real", "fake.npz", *POOLED, "--metrics", "fid@disdiff"), 2, "fid@disdiff looks through inception@disdiff; "),
        (("real", "fake.npz", "--metrics", "fid,fid@disdiff"), 2, "one run looks through one extractor, and these"),
        (("real", "fake.npz", *POOLED, "--set", "fid.num_images=3"), 2, "say --num-images N."),
        (("real", "fake.npz", *POOLED, "--set", "fid.size=3"), 2, "there is no setting fid.size"),
        (("real", "fake.npz", *POOLED, "--set", "kid.subset_size=3"), 2, "sets a metric that does not run here"),
        (("real", "fake.npz", *POOLED, "--batch-size", "0"), 2, "the batch size must be at least 1; got 0."),
        (("real", "fake.npz", *POOLED, "--device", "none"), 2, "device 'none' cannot be used here"),
        (("real", "fake.npz", "--features", "incepton"), 2, "no feature extractor called 'incepton'; did you mean"),
        (("real", "fake.npz", *POOLED, "--data-dir", "nowhere"), 2, "there is no folder nowhere"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(
    words: tuple[str, ...], status: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("large.npz", images=np.zeros((3, 9, 12, 3), np.uint8))
    np.savez("grey.npz", images=np.zeros((3, 8, 8), np.uint8))
    np.savez("narrow.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez("pooled.npz", mu=np.zeros(12), sigma=np.eye(12), n=30, features="other.py:pooled")
    np.savez("other.npz", mu=np.zeros(12), sigma=np.eye(12), n=30, features="another.py:pooled")
    found, out, err = run(*words, capsys=capsys)
    said = [line for line in err.replace("\r", "\n").splitlines() if line.startswith("disbench: ")]
    assert (found, out) == (status, "")
    assert message in said[-1]
    assert "Traceback" not in err
    assert not Path("a.npz").exists()


def test_from_another_folder_as_a_program(folder: Path) -> None:
    there = folder / "elsewhere"
    there.mkdir()
    words = ["fid", "../real", "../fake.npz", "--features", "../network.py:pooled", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "disbench", *words],
        cwd=there,
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    assert json.loads(done.stdout)["real"]["name"] == "../real"
