"""falcor3d and isaac3d from miniatures of their zips and of the unpacked folders."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disbench.datasets import nvidia
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.errors import DisbenchError
from disbench.testing import check_dataset
from tests.datasets.miniatures import recipe_for, smaller

SIZES = {"falcor3d": (2, 2, 1, 2, 2, 1, 3), "isaac3d": (3, 2, 1, 2, 1, 1, 2, 2, 1)}
ARCHIVES = {"falcor3d": "Falcor3D_down128", "isaac3d": "Isaac3D_down128"}
LABELS = {"falcor3d": "train-rec.labels", "isaac3d": "labels.npy"}
SPECS = {name: smaller(nvidia.RECIPES[name].spec, sizes) for name, sizes in SIZES.items()}
N = {name: len(spec.space) for name, spec in SPECS.items()}


def png(number: int, side: int = 128, mode: str = "RGB") -> bytes:
    small = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.NEAREST).convert(mode).save(content, "PNG")
    return content.getvalue()


def shrunk(number: int) -> np.ndarray:
    with Image.open(io.BytesIO(png(number))) as picture:
        return np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))


def classes(sizes: Sequence[int]) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)


def labels(name: str) -> np.ndarray:
    """Values in [0, 1], unevenly spaced, the columns in another order than the factors."""
    columns = [
        (column / max(1, size - 1)) ** 2 for column, size in zip(classes(SIZES[name]).T, SIZES[name], strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(columns))
    return np.stack([columns[k] for k in order], axis=1).astype(np.float32)


def content(name: str, table: np.ndarray | None = None) -> dict[str, bytes]:
    """What the archive holds, by name."""
    saved = io.BytesIO()
    np.save(saved, labels(name) if table is None else table)
    return {LABELS[name]: saved.getvalue(), **{f"images/{k:06d}.png": png(k) for k in range(N[name])}}


def write(folder: Path, name: str, members: Mapping[str, bytes], is_packed: bool = True, prefix: str = "") -> None:
    root = folder / ARCHIVES[name]
    if not is_packed:
        for member, data in members.items():
            (root / member).parent.mkdir(parents=True, exist_ok=True)
            (root / member).write_bytes(data)
        return
    with zipfile.ZipFile(root.with_name(f"{root.name}.zip"), "w") as archive:
        for member, data in reversed(members.items()):
            archive.writestr(f"{prefix}{root.name}/{member}", data)


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: Path | None = None) -> Prepared:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    recipe = recipe_for(nvidia.RECIPES[name], SPECS[name], tmp_path)
    prepare(recipe, source=source or tmp_path, progress=False)
    return open_prepared(recipe)


@pytest.mark.parametrize("form", ["zip", "zip with other folders", "folder"])
@pytest.mark.parametrize("name", SPECS)
def test_image_k_has_the_factors_of_index_k(
    name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, name, content(name), form != "folder", "data/sets/" if "other" in form else "")
    dataset = opened(tmp_path, monkeypatch, name, tmp_path / ARCHIVES[name] if form == "folder" else None)
    check_dataset(dataset)
    assert len(dataset) == N[name]
    for k, image in enumerate(dataset.images(torch.arange(N[name]))):
        np.testing.assert_array_equal(image.numpy(), shrunk(k))
        assert dataset.factors(torch.tensor([k])).tolist() == [classes(SIZES[name])[k].tolist()]
    assert "could not be checked" not in capsys.readouterr().err
    assert "BICUBIC" in dataset.notes["recipe"]["resize"]


def test_orders_and_sizes_are_the_published_ones() -> None:
    falcor, isaac = nvidia.FALCOR3D.space, nvidia.ISAAC3D.space
    assert (len(falcor), len(isaac)) == (233_280, 737_280)
    assert dict(zip(falcor.names, falcor.strides.tolist(), strict=True)) == {
        "lighting_intensity": 46656,
        "lighting_x": 7776,
        "lighting_y": 1296,
        "lighting_z": 216,
        "camera_x": 36,
        "camera_y": 6,
        "camera_z": 1,
    }
    assert dict(zip(isaac.names, isaac.strides.tolist(), strict=True)) == {
        "object_shape": 245760,
        "robot_x": 30720,
        "robot_y": 6144,
        "camera_height": 1536,
        "object_scale": 384,
        "lighting_intensity": 96,
        "lighting_y": 16,
        "object_color": 4,
        "wall_color": 1,
    }


@pytest.mark.parametrize("is_packed", [True, False])
def test_without_labels_a_line_says_that_the_order_was_not_checked(
    is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    members = content("falcor3d")
    del members["train-rec.labels"]
    write(tmp_path, "falcor3d", members, is_packed)
    dataset = opened(tmp_path, monkeypatch, "falcor3d")
    np.testing.assert_array_equal(dataset.images(torch.tensor([5]))[0].numpy(), shrunk(5))
    assert "holds no labels.npy or train-rec.labels" in capsys.readouterr().err


def test_a_picture_with_transparency_is_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "falcor3d", {**content("falcor3d"), "images/000004.png": png(4, mode="RGBA")})
    dataset = opened(tmp_path, monkeypatch, "falcor3d")
    np.testing.assert_array_equal(dataset.images(torch.tensor([4]))[0].numpy(), shrunk(4))


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_labels_in_another_order_are_refused(
    name: str, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = labels(name)[np.random.default_rng(1).permutation(N[name])]
    write(tmp_path, name, content(name, shuffled), is_packed)
    with pytest.raises(
        DisbenchError, match=r"no column of the labels goes with the .* values of .* do not belong together"
    ):
        opened(tmp_path, monkeypatch, name)
    assert not any((tmp_path / "cache" / "prepared").glob(f"{name}*/"))


def test_two_rows_of_labels_swapped_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = labels("isaac3d")
    table[[10, 11]] = table[[11, 10]]
    write(tmp_path, "isaac3d", content("isaac3d", table))
    with pytest.raises(DisbenchError, match="no column of the labels goes with the 2 values of object_color"):
        opened(tmp_path, monkeypatch, "isaac3d")


def test_a_grid_with_the_first_factor_fastest_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its columns have the right numbers of values, each equally often."""
    table = classes(SIZES["falcor3d"][::-1])[:, ::-1].astype(np.float64)
    write(tmp_path, "falcor3d", content("falcor3d", np.ascontiguousarray(table)))
    with pytest.raises(DisbenchError, match=r"values of lighting_intensity .*columns have 2, 2, 1, 2, 2, 1, 3 values"):
        opened(tmp_path, monkeypatch, "falcor3d")


def test_a_column_that_merges_values_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.minimum(classes(SIZES["isaac3d"]), 1).astype(np.float64)
    write(tmp_path, "isaac3d", content("isaac3d", table))
    with pytest.raises(DisbenchError, match="no column of the labels goes with the 3 values of object_shape"):
        opened(tmp_path, monkeypatch, "isaac3d")


def test_a_column_without_numbers_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.full((N["isaac3d"], 9), np.inf)
    write(tmp_path, "isaac3d", content("isaac3d", table))
    with pytest.raises(DisbenchError, match="no column of the labels goes with the 3 values of object_shape"):
        opened(tmp_path, monkeypatch, "isaac3d")


WRONG_TABLES = {
    "fewer rows": (labels("isaac3d")[:-1], r"shape \(47, 9\).*expected \(48, any\)"),
    "one column": (np.zeros(48), r"shape \(48\).*expected \(48, any\)"),
    "objects": (np.array([[{}]] * 48), "pickled objects"),
    "far too many columns": (np.zeros((48, 5000), np.uint8), "labels have 5,000 columns; expected 9"),
}


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("what", WRONG_TABLES)
def test_wrong_tables_are_refused(what: str, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, message = WRONG_TABLES[what]
    write(tmp_path, "isaac3d", content("isaac3d", table), is_packed)
    with pytest.raises(DisbenchError, match=message):
        opened(tmp_path, monkeypatch, "isaac3d")


WRONG_PICTURES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "missing": ({"images/000003.png": None}, "holds 47 pictures and should hold 48.* missing is 000003.png"),
    "surplus": ({"images/000048.png": png(48)}, "000048.png, and its pictures should end with number 47"),
    "twice": ({"images/00003.png": png(3)}, "holds picture 3 twice"),
    "512 pixels": ({"images/000003.png": png(3, 512)}, "000003.png is 512 x 512 pixels; expected 128 x 128.*_down128"),
    "64 pixels": ({"images/000003.png": png(3, 64)}, "000003.png is 64 x 64 pixels; expected 128 x 128"),
    "no picture": ({"images/000003.png": b"no picture"}, "000003.png cannot be read as a picture"),
    "cut off": ({"images/000003.png": png(3)[:200]}, "000003.png cannot be read as a picture"),
}


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("what", WRONG_PICTURES)
def test_wrong_pictures_are_refused(
    what: str, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, message = WRONG_PICTURES[what]
    members = {**content("isaac3d"), **changes}
    write(tmp_path, "isaac3d", {name: data for name, data in members.items() if data is not None}, is_packed)
    with pytest.raises(DisbenchError, match=message):
        opened(tmp_path, monkeypatch, "isaac3d")


def test_a_picture_that_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_MAX_PNG", 1 << 15)
    write(tmp_path, "isaac3d", {**content("isaac3d"), "images/000003.png": png(3) + bytes(1 << 16)})
    with pytest.raises(DisbenchError, match=r"000003\.png has .* bytes; expected at most 32,768"):
        opened(tmp_path, monkeypatch, "isaac3d")


def test_a_truncated_zip_and_a_web_page_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "isaac3d", content("isaac3d"))
    path = tmp_path / "Isaac3D_down128.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DisbenchError, match="cannot be read as a zip file"):
        opened(tmp_path, monkeypatch, "isaac3d")
    path.write_bytes(b"<!DOCTYPE html><html>quota exceeded</html>")
    with pytest.raises(DisbenchError, match="is a web page"):
        opened(tmp_path, monkeypatch, "isaac3d")
