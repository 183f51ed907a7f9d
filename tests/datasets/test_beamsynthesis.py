"""beamsynthesis from a miniature of its zip, and from the real one."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.datasets import beamsynthesis
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import read_notes
from disbench.errors import DisbenchError
from disbench.testing import check_dataset
from tests.datasets.miniatures import recipe_for, smaller

SPEC = smaller(beamsynthesis.SPEC, (4, 3))
DUTY, FREQUENCY = ("0.200", "0.205", "0.795", "1.100"), ("5.000", "10.000", "20.000")  # as words, 5 comes last


def signal(duty: int, frequency: int) -> np.ndarray:
    return np.random.default_rng(10 * duty + frequency).random(1000)


def signals() -> dict[str, np.ndarray]:
    pairs = [(d, f) for d in range(4) for f in range(3)]
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    return {f"beamsynthesis/data/{DUTY[d]}_{FREQUENCY[f]}.npy": signal(d, f) for d, f in shuffled}


def write(folder: Path, members: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(folder / "beamsynthesis.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("beamsynthesis")
        archive.mkdir("beamsynthesis/data")
        for name, array in members.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(name, content.getvalue())


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    recipe = recipe_for(beamsynthesis.RECIPE, SPEC, tmp_path)
    prepare(recipe, source=tmp_path, progress=False)
    return open_prepared(recipe)


def test_signal_i_has_the_factors_of_index_i(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, signals())
    dataset = opened(tmp_path, monkeypatch)
    served = dataset.images(torch.arange(12))
    assert served.dtype == torch.float32
    assert served.shape == (12, 1000, 1)
    for duty, frequency in np.ndindex(4, 3):
        index = 3 * duty + frequency
        assert dataset.factors(torch.tensor([index])).tolist() == [[duty, frequency]]
        np.testing.assert_array_equal(served[index, :, 0].numpy(), signal(duty, frequency).astype(np.float32))


def test_a_missing_signal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = signals()
    del members["beamsynthesis/data/0.205_20.000.npy"]
    write(tmp_path, members)
    with pytest.raises(DisbenchError, match="11 signals of 4 duty cycles and 3 frequencies; expected 4 x 3 = 12"):
        opened(tmp_path, monkeypatch)


def test_an_incomplete_grid_of_the_right_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = signals()
    members["beamsynthesis/data/0.205_15.000.npy"] = members.pop("beamsynthesis/data/0.205_20.000.npy")
    write(tmp_path, members)
    with pytest.raises(DisbenchError, match="12 signals of 4 duty cycles and 4 frequencies"):
        opened(tmp_path, monkeypatch)


def test_a_signal_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**signals(), "copy/0.205_20.0.npy": signal(0, 0)})
    with pytest.raises(DisbenchError, match=r"0\.205_20\.0\.npy twice"):
        opened(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(999), r"shape \(999\) and type float64; expected \(1000\)"),
        (np.zeros(1000, np.int16), "type int16; expected .* float64"),
        (np.array([{}] * 1000), "pickled objects"),
    ],
)
def test_another_array_is_refused(
    array: np.ndarray, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {**signals(), "beamsynthesis/data/0.205_20.000.npy": array})
    with pytest.raises(DisbenchError, match=message):
        opened(tmp_path, monkeypatch)


def test_a_zip_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"weights.npy": np.zeros(3)})
    with pytest.raises(DisbenchError, match="holds 0 signals"):
        opened(tmp_path, monkeypatch)


def test_a_truncated_zip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, signals())
    path = tmp_path / "beamsynthesis.zip"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DisbenchError, match="cannot be read as a zip file"):
        opened(tmp_path, monkeypatch)


def test_the_real_file(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    entry = beamsynthesis.DATASETS["beamsynthesis"]
    assert entry.here(data_dir) == "files found, not prepared"
    dataset = entry.open(data_dir)
    assert entry.here(data_dir) == "prepared"
    check_dataset(dataset)
    notes = read_notes(beamsynthesis.RECIPE)
    assert notes is not None
    assert notes["sources"][0]["verified_by"] == "hash"
    assert len(dataset.images(torch.arange(360)).flatten(1).unique(dim=0)) == 360
    with zipfile.ZipFile(data_dir / "beamsynthesis.zip") as archive:
        content = io.BytesIO(archive.read("beamsynthesis/data/0.470_20.000.npy"))
    index = dataset.spec.space.index(torch.tensor([[54, 2]]))  # (.470 - .200) / .005
    np.testing.assert_array_equal(dataset.images(index)[0, :, 0].numpy(), np.load(content).astype(np.float32))
    assert all(check.holds for check in entry.checks(dataset)), list(entry.checks(dataset))


def test_checks_tell_other_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, signals())
    found = beamsynthesis._checks(opened(tmp_path, monkeypatch))
    assert not any(check.holds for check in found)
