"""`disbench datasets` and `disbench list datasets`, as a user types them, without a network."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from disbench import registry
from disbench.cli import main
from disbench.datasets import mpi3d, shapes3d
from disbench.datasets._prepared import prepared_entry
from tests.datasets.miniatures import pictures, recipe_for, smaller

SPEC = smaller(shapes3d.SPEC, (3, 2, 2, 3, 4, 2))
N = len(SPEC.space)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature of Shapes3D's file in `there`, its data set in the registry, an empty cache, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    there = tmp_path / "there"
    there.mkdir()
    grids = np.meshgrid(*shapes3d.values_of_factors(SPEC), indexing="ij")
    images = pictures(N, SPEC.image_shape)
    with h5py.File(there / "3dshapes.h5", "w") as file:
        file["labels"] = np.stack([grid.reshape(-1) for grid in grids], axis=1)
        file.create_dataset("images", data=images, chunks=(50, 4, 4, 1), compression="gzip")
    pixels = images.reshape(N, -1, 3) / 255
    recipe = dataclasses.replace(
        recipe_for(shapes3d.RECIPE, SPEC, there),
        mean=tuple(pixels.mean((0, 1))),
        std=tuple(pixels.std(1, ddof=1).mean(0)),
    )
    sources = tuple(
        dataclasses.replace(s, files=tuple(dataclasses.replace(f, urls=("http://127.0.0.1:9/none",)) for f in s.files))
        for s in recipe.sources
    )
    entry = prepared_entry(dataclasses.replace(recipe, sources=sources))
    known = {**registry.datasets(), "shapes3d": entry}
    monkeypatch.setattr(registry, "datasets", lambda: known)
    return tmp_path


SCORE = [
    "score",
    "--model",
    "pca10",
    "--dataset",
    "shapes3d",
    "--metrics",
    "mig",
    "--set",
    "mig.num_train=300",
    "--json",
]


def test_prepare_then_score_then_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "prepare", "shapes3d", "--from", "there/3dshapes.h5"]) == 0
    prepared = Path(capsys.readouterr().out.strip())
    assert sorted(path.name for path in prepared.iterdir()) == ["images.npy", "prepared.json"]
    assert main(SCORE) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["key"]["dataset"]["name"] == "shapes3d"
    assert main(["datasets", "verify", "shapes3d"]) == 0
    text = capsys.readouterr().out
    for what in (
        "hash of 3dshapes.h5",
        "images",
        "bytes of images.npy",
        "mean of each channel",
        "spread within an image",
    ):
        assert what in text
    assert "NO" not in text
    assert main(["list", "datasets"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("shapes3d ")]
    assert line.endswith("prepared")


def test_verify_says_what_does_not_hold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "verify", "shapes3d"]) == 2
    assert "run: disbench datasets prepare shapes3d" in capsys.readouterr().err
    main(["datasets", "prepare", "shapes3d", "--data-dir", "there"])
    path = Path(capsys.readouterr().out.strip()) / "images.npy"
    content = bytearray(path.read_bytes())
    content[-12288:] = bytes(12288)  # one image turned black
    path.write_bytes(content)
    assert main(["datasets", "verify", "shapes3d"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.endswith("NO")] == [
        "bytes of images.npy", "mean of each channel", "spread within an image",
    ]  # fmt: skip


def test_first_use_finds_the_file_and_says_what_it_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SCORE, "--data-dir", "there"]) == 0
    assert "preparing shapes3d (3.5 MB) from there/3dshapes.h5" in capsys.readouterr().err
    assert main(SCORE) == 0  # prepared by now
    assert "preparing" not in capsys.readouterr().err


def test_first_use_without_a_network(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SCORE) == 2
    message = capsys.readouterr().err
    size = (folder / "there" / "3dshapes.h5").stat().st_size
    for part in (
        "shapes3d is not on this machine: fetching 3dshapes.h5",
        f"{size:,} bytes, sha256 ",
        "from http://127.0.0.1:9/none",
        f"put it into {folder / 'cache' / 'downloads'}",
        "disbench datasets prepare shapes3d --from PATH",
    ):
        assert part in message, part


def test_files_by_hand_and_other_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentences in (
        (
            ["prepare", "mpi3d_real_complex"],
            ["cannot fetch", mpi3d.COMPLEX_FILE.name, "drive.google.com", "--from PATH"],
        ),
        (["prepare", "rooms3d"], ["rooms3d is not prepared from files beforehand: generated here"]),
        (["prepare", "shape3d"], ["did you mean 'shapes3d'"]),
        (["prepare", "shapes3d", "--from", "nowhere.h5"], ["there is nothing at nowhere.h5", "3dshapes.h5"]),
        (["verify", "mpi3d"], ["mpi3d stands for mpi3d_toy", "run: disbench datasets prepare mpi3d_toy"]),
        (["show", "sprites", "--out", "a.png"], ["sprites needs the 39 sheets", "--data-dir"]),
    ):
        assert main(["datasets", *words]) == 2, words
        message = capsys.readouterr().err
        assert all(sentence in message for sentence in sentences), message
    assert not list(folder.glob("*.png"))


def test_info_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "info", "cars3d"]) == 0
    text = capsys.readouterr().out
    for part in (
        "azimuth: 24, circular",
        "4e866a7919c1beedf53964e6f7a23686",
        "known defects",
        "LANCZOS",
        "@inproceedings",
    ):
        assert part in text


def test_list_shows_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text for name in (*registry.datasets(), "mpi3d"))
    assert "another name of mpi3d_toy" in text


def test_mpi3d_is_mpi3d_toy_in_the_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = smaller(mpi3d.TOY.spec, (2, 2, 2, 3, 3, 4, 4))
    np.savez(folder / "mpi3d_toy.npz", images=pictures(len(spec.space), spec.image_shape))
    known = {**registry.datasets(), "mpi3d_toy": prepared_entry(recipe_for(mpi3d.TOY, spec, folder))}
    monkeypatch.setattr(registry, "datasets", lambda: known)
    words = ["score", "--model", "random_conv10", "--dataset", "mpi3d", "--data-dir", ".", "--metrics", "mig"]
    assert main([*words, "--set", "mig.num_train=300", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "mpi3d stands for mpi3d_toy" in err
    assert json.loads(out)["key"]["dataset"]["name"] == "mpi3d_toy"


def test_another_copy_is_verified_by_its_pixels(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = smaller(mpi3d.TOY.spec, (2, 2, 2, 3, 3, 4, 4))
    images = pictures(len(spec.space), spec.image_shape)
    np.savez(folder / "mpi3d_toy.npz", images=images)
    recipe = recipe_for(mpi3d.TOY, spec, folder)
    for mean, status in ((tuple(images.mean((0, 1, 2)) / 255), 0), ((0.1, 0.2, 0.3), 1)):
        recipe = dataclasses.replace(recipe, mean=mean)
        known = {**registry.datasets(), "mpi3d_toy": prepared_entry(recipe)}
        monkeypatch.setattr(registry, "datasets", lambda known=known: known)
        np.savez_compressed(folder / "mpi3d_toy.npz", images=images)  # other bytes, the same pixels
        assert main(["datasets", "prepare", "mpi3d_toy", "--from", "mpi3d_toy.npz"]) == status
        err = capsys.readouterr().err
        assert "is another copy than the published one; its content decides" in err
        if status:
            assert "neither the hash nor the pixels of mpi3d_toy" in err
            continue
        assert main(["datasets", "verify", "mpi3d_toy"]) == 0
        assert "another copy, sha256" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sprites", "beamsynthesis"])
def test_baselines_on_real_files(name: str, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "--model", "pca10", "--dataset", name, "--data-dir", str(data_dir), "--metrics", "mig"]
    assert main([*words, "--set", "mig.num_train=300", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"]["name"] == "pca10"
    assert 0 < record["scores"]["mig"]["value"] < 0.5
