"""The Python of the section "A data set" of docs/extending.md runs as it stands there."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from disbench import load_dataset, registry
from disbench.testing import check_dataset
from tests.datasets.miniatures import picture

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
SECTION = PAGE.split("\n## A data set\n")[1].split("\n## ")[0]


def fenced(language: str) -> list[str]:
    """What stands between ```LANGUAGE and ``` in the section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


BLOCKS = {re.findall(r"from_\w+|class \w+", block)[0]: block for block in fenced("python")}


def run(block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a block defines when it is run in a folder."""
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {"__name__": "docs"}
    exec(compile(block, "docs/extending.md", "exec"), found)
    return found


def test_each_way_is_shown_in_ten_lines() -> None:
    assert [*BLOCKS] == ["from_arrays", "from_folder", "from_file", "class Greys"]
    assert len(BLOCKS) == len(fenced("python")) == SECTION.count("```python")
    for name, block in BLOCKS.items():
        assert len([line for line in block.splitlines() if line.strip()]) <= (10 if name.startswith("from") else 15)
        assert max(map(len, block.splitlines())) <= 120


def test_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = run(BLOCKS["from_arrays"], tmp_path, monkeypatch)["dataset"]
    check_dataset(dataset)
    image = dataset.images(dataset.spec.space.index(torch.tensor([[1, 2]])))[0, :, :, 0]
    assert image.nonzero().amin(0).tolist() == [8, 16]


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = fenced("csv")
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "labels.csv").write_text(table)
    rows = [*csv.DictReader(table.splitlines())]
    for number, row in enumerate(rows):
        path = tmp_path / "faces" / row["file"]
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(number, (16, 16, 3))).save(path)
    dataset = run(BLOCKS["from_folder"], tmp_path, monkeypatch)["dataset"]
    check_dataset(dataset)
    labels = [["no", "yes"], ["-30", "30"]]
    for index in range(len(dataset)):
        glasses, angle = (names[k] for names, k in zip(labels, dataset.factors(torch.tensor([index]))[0], strict=True))
        (number,) = (i for i, row in enumerate(rows) if (row["glasses"], row["angle"]) == (glasses, angle))
        np.testing.assert_array_equal(dataset.images(torch.tensor([index]))[0], picture(number, (16, 16, 3)))


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = run(BLOCKS["from_file"], tmp_path, monkeypatch)["images"]
    for name in ("mine.npz", "mine.h5"):
        dataset = load_dataset(tmp_path / name)  # as the command line does
        check_dataset(dataset)
        np.testing.assert_array_equal(dataset.images(torch.arange(24)), images)


def test_an_own_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_greys.py").write_text(BLOCKS["class Greys"])
    (tmp_path / "my_greys-1.dist-info").mkdir()
    (tmp_path / "my_greys-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my_greys\nVersion: 1\n")
    (tmp_path / "my_greys-1.dist-info" / "entry_points.txt").write_text("[disbench.datasets]\nmy_greys = my_greys\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.datasets.cache_clear()
    try:
        dataset = load_dataset("greys")
    finally:
        registry.datasets.cache_clear()
    check_dataset(dataset)
    assert dataset.images(torch.tensor([7, 200]))[:, 5, 5, 0].tolist() == [7, 200]
