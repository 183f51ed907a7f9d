"""A user's own data: arrays, folders and files, as grids and as labelled data, and what is wrong with others."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from disbench import evaluate, load_dataset
from disbench.datasets import _own_files, from_arrays, from_file, from_folder
from disbench.errors import DisbenchError, UsageError
from disbench.testing import check_dataset
from disbench.types import Dataset
from tests.conftest import FACTORS_OF_TINY, SMALL, TINY, TinyDataset, perfect_codes
from tests.datasets.miniatures import pictures

SIZES = (3, 2, 4)
N = 24
GRID = np.stack(np.unravel_index(np.arange(N), SIZES), axis=1)
PICTURES = pictures(N, (8, 6, 3))
SHUFFLE = np.random.default_rng(0).permutation(N)


def everything(dataset: Dataset) -> np.ndarray:
    return dataset.images(torch.arange(len(dataset))).numpy()


def labels_of(dataset: Dataset) -> np.ndarray:
    return dataset.factors(torch.arange(len(dataset))).numpy()


def save_pictures(
    folder: Path, images: np.ndarray, factors: np.ndarray | None = GRID, suffix: str = "png"
) -> pd.DataFrame:
    (folder / "faces").mkdir()
    names = [f"faces/{i}.{suffix}" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    table = pd.DataFrame({"file": names, "shape": factors[:, 0], "light": factors[:, 1], "angle": factors[:, 2]})
    table.to_csv(folder / "labels.csv", index=False)
    return table


def test_a_grid_in_any_order_is_a_grid_whose_image_i_is_that_of_combination_i() -> None:
    for order in (np.arange(N), SHUFFLE):
        dataset = from_arrays(PICTURES[order], GRID[order], names=["a", "b", "c"])
        check_dataset(dataset)
        assert dataset.spec.kind == "grid"
        assert dataset.spec.space.sizes == SIZES
        np.testing.assert_array_equal(everything(dataset), PICTURES)
        np.testing.assert_array_equal(labels_of(dataset), GRID)


def test_other_rows_are_labelled_data_in_their_order() -> None:
    for rows in (SHUFFLE[:-1], np.r_[SHUFFLE, 5], np.r_[SHUFFLE[:-1], SHUFFLE[0]]):  # one missing, twice, both
        dataset = from_arrays(PICTURES[rows], GRID[rows])
        check_dataset(dataset)
        assert dataset.spec.kind == "labelled"
        np.testing.assert_array_equal(everything(dataset), PICTURES[rows])
        np.testing.assert_array_equal(labels_of(dataset), GRID[rows])


def test_labels_are_numbered_in_ascending_order() -> None:
    table = {
        "value": [0.5, -1.0, 0.5, 10.0],
        "text": ["small", "large", "10", "9"],
        "constant": [7, 7, 7, 7],
        "date": pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02", "2020-01-02"]),
    }
    dataset = from_arrays(PICTURES[:4], pd.DataFrame(table), kinds=["ordinal", "categorical", "ordinal", "circular"])
    assert dataset.spec.space.names == ("value", "text", "constant", "date")
    assert dataset.spec.space.sizes == (3, 4, 1, 2)
    assert [factor.kind for factor in dataset.spec.space.factors] == ["ordinal", "categorical", "ordinal", "circular"]
    assert labels_of(dataset).T.tolist() == [[1, 0, 1, 2], [3, 2, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]]
    mixed = from_arrays(PICTURES[:3], [[10, "b"], [9, "a"], [10, "b"]])  # numpy would make texts of the numbers
    assert labels_of(mixed).tolist() == [[1, 1], [0, 0], [1, 1]]
    text = from_arrays(PICTURES[:3], np.array(["b", "a", "b"]))
    assert labels_of(text).tolist() == [[1], [0], [1]]
    assert from_arrays(PICTURES[:2], torch.tensor([5, 3])).spec.space.names == ("factor_0",)


def test_many_large_factors_are_no_trouble() -> None:
    factors = np.tile(np.arange(N)[:, None], (1, 40))  # 24 ** 40 combinations
    check_dataset(from_arrays(PICTURES, factors))


def test_a_constant_factor_leaves_a_grid_a_grid() -> None:
    dataset = from_arrays(PICTURES, np.c_[np.zeros(N), GRID])
    check_dataset(dataset)
    assert dataset.spec.space.sizes == (1, *SIZES)
    assert dataset.spec.kind == "grid"


@pytest.mark.parametrize(
    ("images", "shape", "dtype"),
    [
        (PICTURES, (8, 6, 3), "uint8"),
        (PICTURES[..., 0], (8, 6, 1), "uint8"),
        (torch.from_numpy(PICTURES), (8, 6, 3), "uint8"),
        (PICTURES.tolist(), (8, 6, 3), "uint8"),
        (PICTURES.astype(">i8"), (8, 6, 3), "uint8"),
        (PICTURES / 255, (8, 6, 3), "float32"),
        ((PICTURES[..., 0] / 255).astype(np.float16), (8, 6, 1), "float32"),
        (torch.from_numpy(PICTURES / 255).bfloat16(), (8, 6, 3), "float32"),
        (PICTURES.reshape(N, -1) * -3.5, (144, 1), "float32"),
        (PICTURES.reshape(N, -1, 4) * 1e9, (36, 4), "float32"),
    ],
)
def test_kinds_of_observations(images: Any, shape: tuple[int, ...], dtype: str) -> None:
    dataset = from_arrays(images, GRID)
    check_dataset(dataset)
    assert (dataset.spec.image_shape, dataset.spec.dtype) == (shape, dtype)
    array = images.float().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    np.testing.assert_array_equal(everything(dataset), array.reshape(N, *shape).astype(dtype))
    assert dataset.images(torch.tensor([], dtype=torch.int64)).shape == (0, *shape)


def test_arrays_are_not_copied_and_a_memory_map_stays_one(tmp_path: Path) -> None:
    for kind in (np.uint8, np.int32, np.float64):
        np.save(tmp_path / "images.npy", (PICTURES / 255).astype(kind))
        mapped = np.load(tmp_path / "images.npy", mmap_mode="r+")
        dataset = from_arrays(mapped, GRID)
        mapped[3] = 1
        assert (dataset.images(torch.tensor([3])) == 1).all()


def test_values_behind_the_first_slab_are_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_own_files.arrays, "SLAB", 300)
    images = PICTURES / 255
    whole = from_arrays(images, GRID).content_hash
    images[-1, -1, -1, -1] = 1.5
    with pytest.raises(DisbenchError, match=r"reach from .* to 1.5; floats must lie in 0 ... 1"):
        from_arrays(images, GRID)
    monkeypatch.undo()
    assert from_arrays(PICTURES / 255, GRID).content_hash == whole


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PICTURES.astype(np.float32), "to 255; floats must lie in 0 ... 1: divide by 255 or give uint8"),
        (PICTURES / 127.5 - 1, "shift and scale them"),
        (PICTURES[..., 0] * 1.0, "divide by 255.*signals with more than 4 channels"),
        (PICTURES * 2.0 - 300, "shift and scale them"),
        (PICTURES.astype(int) + 1, "whole numbers must lie in 0 ... 255"),
        (PICTURES.astype(np.int8) - 1, "whole numbers must lie in 0 ... 255"),
        (PICTURES * np.nan, "NaN or infinity"),
        (PICTURES.reshape(N, -1) + np.inf, "NaN or infinity"),
        (PICTURES.reshape(N, -1) * 1e200, "signals must lie in -3e.38 ... 3e.38"),
        (PICTURES > 3, "bool; expected .*multiply by 255"),
        (np.array([*PICTURES, None], dtype=object)[:-1], "type object"),
        ([[[1, 2]], [[1, 2, 3]]], "no array of numbers, all of one shape"),
        (PICTURES + 0j, "type complex128"),
        (np.moveaxis(PICTURES, -1, 1), r"\(24, 3, 8, 6\); the channel comes last"),
        (PICTURES.reshape(N, 1, -1) / 255, "channel comes last"),
        (PICTURES.reshape(N, -1), r"shape \(24, 144\); expected \(n, h, w, c\)"),
        (PICTURES[:, :0], "expected .n, h, w, c"),
        (PICTURES[None], "expected .n, h, w, c"),
        (np.uint8(3), "expected .n, h, w, c"),
        (PICTURES[:1], "one image"),
        (PICTURES[:-1], "23 images and 24 rows of factors"),
        (np.broadcast_to(np.uint8(0), (2, 20_000, 20_000)), "400,000,000 bytes"),
    ],
)
def test_wrong_images_are_refused(images: Any, message: str) -> None:
    with pytest.raises(DisbenchError, match=message):
        from_arrays(images, GRID)


@pytest.mark.parametrize(
    ("factors", "options", "message"),
    [
        (GRID[:-1], {}, "24 images and 23 rows of factors"),
        (GRID[:, :0], {}, "at least one row and one factor"),
        (GRID[None], {}, "factors must be .n, k."),
        (None, {}, "factors must be .n, k."),
        ("labels", {}, "factors must be .n, k."),
        (np.where(GRID == 3, np.nan, GRID), {}, "row 3 has no label of the factor 'factor_2'"),
        (pd.DataFrame({"hat": [*["yes"] * (N - 1), None]}), {}, "row 23 has no label of the factor 'hat'"),
        ([[1, 2], *[[1]] * (N - 1)], {}, "row 1 has no label of the factor 'factor_1'"),
        (pd.DataFrame({"hat": [*range(N - 1), "none"]}), {}, "'hat' are mixed"),
        (pd.DataFrame({"hat": [[1]] * N}), {}, "'hat' are mixed"),
        (GRID + 1j, {}, "are complex"),
        (GRID, {"names": ["a", "b"]}, "3 factors and 2 names"),
        (GRID, {"names": "abc"}, "3 factors and 1 names"),
        (GRID, {"names": ["a", "b", "a"]}, "must differ"),
        (GRID, {"kinds": ["ordinal"]}, "one for each factor"),
        (GRID, {"kinds": ["ordinal", "ordinal", "round"]}, "categorical, ordinal, circular"),
    ],
)
def test_wrong_factors_are_refused(factors: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DisbenchError, match=message):
        from_arrays(PICTURES, factors, **options)


def test_masks_are_remarked_upon(capsys: pytest.CaptureFixture[str]) -> None:
    from_arrays(PICTURES // 128, GRID)
    assert "multiply masks by 255" in capsys.readouterr().err
    from_arrays(PICTURES // 128 * 255, GRID)
    assert not capsys.readouterr().err


def test_the_content_hash_is_over_names_images_and_factors() -> None:
    other = PICTURES.copy()
    other[-1, -1, -1, -1] ^= 1
    datasets = [
        from_arrays(PICTURES, GRID),
        from_arrays(PICTURES, GRID, names=["a", "b", "c"]),
        from_arrays(other, GRID),
        from_arrays(PICTURES, GRID[SHUFFLE]),
        from_arrays(PICTURES[:-1], GRID[:-1]),
        from_arrays(PICTURES.reshape(N, 6, 8, 3), GRID),
    ]
    assert len({dataset.content_hash for dataset in datasets}) == len(datasets)
    same = from_arrays(PICTURES.astype(int), GRID * 10 - 3, name="another name")
    assert same.content_hash == datasets[0].content_hash


def test_a_folder(tmp_path: Path) -> None:
    save_pictures(tmp_path, PICTURES)
    dataset = from_folder(tmp_path, kinds=["categorical", "ordinal", "circular"])
    check_dataset(dataset)
    assert dataset.spec.name == tmp_path.name
    assert dataset.spec.space.names == ("shape", "light", "angle")
    assert dataset.spec.space.factors[2].kind == "circular"
    np.testing.assert_array_equal(everything(dataset), PICTURES)
    np.testing.assert_array_equal(labels_of(dataset), GRID)
    before = dataset.content_hash
    assert from_folder(tmp_path).content_hash == before
    Image.fromarray(PICTURES[1]).save(tmp_path / "faces" / "0.png")
    assert from_folder(tmp_path).content_hash != before
    np.testing.assert_array_equal(dataset.images(torch.tensor([0]))[0].numpy(), PICTURES[1])  # opened when asked for


def test_a_folder_of_grey_pictures_with_labels_elsewhere(tmp_path: Path) -> None:
    table = save_pictures(tmp_path, PICTURES[..., 0], suffix="bmp").iloc[SHUFFLE[:-1]]
    table.assign(angle=table["angle"].map("abcd".__getitem__)).to_csv(tmp_path / "some.csv", index=False)
    dataset = from_folder(str(tmp_path), "some.csv", name="mine")
    check_dataset(dataset)
    assert (dataset.spec.name, dataset.spec.kind, dataset.spec.image_shape) == ("mine", "labelled", (8, 6, 1))
    np.testing.assert_array_equal(everything(dataset), PICTURES[SHUFFLE[:-1], :, :, :1])
    np.testing.assert_array_equal(labels_of(dataset), GRID[SHUFFLE[:-1]])


def test_palettes_become_colours_and_masks_grey(tmp_path: Path) -> None:
    save_pictures(tmp_path, PICTURES)
    for i in range(N):
        Image.fromarray(PICTURES[i]).quantize(256).save(tmp_path / "faces" / f"{i}.png")
    np.testing.assert_array_equal(everything(from_folder(tmp_path)), PICTURES)
    for i in range(N):
        Image.fromarray(PICTURES[i, :, :, 0] > 127).save(tmp_path / "faces" / f"{i}.png")
    np.testing.assert_array_equal(everything(from_folder(tmp_path)), (PICTURES[..., :1] > 127) * np.uint8(255))


def _rgb(**options: Any) -> tuple[Image.Image, dict[str, Any]]:
    return Image.fromarray(PICTURES[0]), options


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ((Image.fromarray(PICTURES[0]).convert("RGBA"), {}), "colour mode RGBA.*no transparency"),
        ((Image.fromarray(PICTURES[0]).convert("LA"), {}), "colour mode LA"),
        ((Image.fromarray(PICTURES[0]).quantize(8), {"transparency": 1}), "colour mode P with transparency"),
        (_rgb(transparency=(1, 2, 3)), "colour mode RGB with transparency"),
        ((Image.fromarray(PICTURES[0, :, :, 0].astype(np.uint16) * 200), {}), "colour mode I;16"),
        ((Image.fromarray(PICTURES[0, :, :, 0]), {}), r"\(8, 6, 1\) rows, columns and channels.*\(8, 6, 3\)"),
        ((Image.fromarray(PICTURES[0, 1:]), {}), r"\(7, 6, 3\) rows"),
    ],
)
def test_pictures_of_another_kind_than_the_first_are_refused(
    tmp_path: Path, picture: tuple[Image.Image, dict[str, Any]], message: str
) -> None:
    save_pictures(tmp_path, PICTURES)
    dataset = from_folder(tmp_path)
    picture[0].save(tmp_path / "faces" / "5.png", **picture[1])
    assert dataset.images(torch.tensor([4])).shape == (1, 8, 6, 3)
    with pytest.raises(DisbenchError, match=message):
        dataset.images(torch.tensor([4, 5]))


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    save_pictures(tmp_path, PICTURES)
    dataset = from_folder(tmp_path)
    path = tmp_path / "faces" / "5.png"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DisbenchError, match=r"5.png cannot be read as a picture"):
        dataset.images(torch.tensor([5]))
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n")  # which PIL would hand to another program
    with pytest.raises(DisbenchError, match=r"5.png cannot be read as a picture"):
        dataset.images(torch.tensor([5]))


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("file,a\n0.png,1\n../outside.png,2\n", "row 1 names '../outside.png', which lies outside the folder"),
        ("file,a\n0.png,1\nx\\..\\..\\outside.png,2\n", "outside the folder"),
        ("file,a\n0.png,1\n/etc/passwd,2\n", "outside the folder"),
        ("file,a\n0.png,1\nC:\\1.png,2\n", "outside the folder"),
        ("file,a\n0.png,1\n7.png,2\n", "row 1 names '7.png', and .* holds no such file"),
        ("file,a\n0.png,1\n,2\n", "row 1 names '.', and"),
        ("file,a\n0.png,1\n./0.png,2\n", "names '0.png' 2 times"),
        ("file,a\n0.png,1\n", "names one picture"),
        ("file,a\n0.png,1\n1.png,\n", "row 1 has no label of the factor 'a'"),
        ("0.png,1\n1.png,2\n", "its first row must name the columns"),
        ("file;a\n0.png;1\n1.png;2\n", "a picture's name, a comma and its factors"),
        ("file,a\n0.png,1,2\n1.png,2,2\n", "must have a head"),
        ("file,a\n0.png,1\n1.png,2,3\n", "cannot be read as a CSV file"),
        ("file,a\n", "must have a head"),
        ("", "cannot be read as a CSV file"),
        ("\0\xff", "cannot be read as a CSV file|must have a head"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, csv: str, message: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.fromarray(PICTURES[0]).save(tmp_path / "outside.png")
    for i in (0, 1):
        Image.fromarray(PICTURES[i]).save(folder / f"{i}.png")
    (folder / "labels.csv").write_bytes(csv.encode("latin1"))
    with pytest.raises(DisbenchError, match=message):
        from_folder(folder)


def test_missing_files_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder at"):
        from_folder(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"no file at .*labels.csv; expected a CSV file"):
        from_folder(tmp_path)
    with pytest.raises(UsageError, match="no file at"):
        from_file(tmp_path / "nothing.npz")
    with pytest.raises(UsageError, match=r"\.npz, \.h5, \.hdf5.*mmap_mode"):
        from_file(tmp_path / "images.npy")
    with pytest.raises(UsageError, match=r"\.npz, \.h5, \.hdf5"):
        from_file(tmp_path)


def write(path: Path, **arrays: Any) -> Path:
    """An npz or an HDF5 file of these arrays."""
    arrays = {key.replace("__", "/"): array for key, array in arrays.items()}
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, chunks=(5, *np.shape(array)[1:]), compression="gzip")
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".HDF5"])
@pytest.mark.parametrize("factors", ["factors", "labels", "latents_classes", "latents__classes"])
def test_files_are_what_their_arrays_are(tmp_path: Path, suffix: str, factors: str) -> None:
    keys = {"imgs" if "latents" in factors else "images": PICTURES[SHUFFLE], factors: GRID[SHUFFLE] / 10}
    path = write(tmp_path / f"mine{suffix}", **keys, other=np.arange(5))
    dataset = from_file(path)
    check_dataset(dataset)
    assert dataset.spec.name == f"mine{suffix}"
    np.testing.assert_array_equal(everything(dataset), PICTURES)
    np.testing.assert_array_equal(labels_of(dataset), GRID)
    assert dataset.content_hash == from_arrays(PICTURES[SHUFFLE], GRID[SHUFFLE]).content_hash
    assert load_dataset(path).content_hash == dataset.content_hash


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_can_be_named(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"mine{suffix}", signals=PICTURES.reshape(N, -1) / 7, angle=GRID[:, 2])
    with pytest.raises(DisbenchError, match=r"holds no images or imgs but angle, signals. Name the array: images="):
        from_file(path)
    with pytest.raises(DisbenchError, match=r"holds no factors or .*Name the array: factors="):
        from_file(path, images="signals")
    with pytest.raises(DisbenchError, match="holds no array 'signal'"):
        from_file(path, images="signal", factors="angle")
    dataset = from_file(path, images="signals", factors="angle", names=["angle"], name="signals")
    check_dataset(dataset)
    assert (dataset.spec.name, dataset.spec.image_shape, dataset.spec.kind) == ("signals", (144, 1), "labelled")
    assert dataset.spec.space.names == ("angle",)


@pytest.mark.parametrize("images", [PICTURES, PICTURES / 255, PICTURES[..., 0].astype(np.int16)])
@pytest.mark.parametrize("chunks", [None, (7, 2, 6)])
def test_a_large_hdf5_file_is_read_by_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: np.ndarray, chunks: tuple[int, ...] | None
) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        chunks = chunks and (*chunks, 3)[: images.ndim]
        file.create_dataset("images", data=images[SHUFFLE], chunks=chunks)
        file.create_dataset("factors", data=GRID[SHUFFLE])
    monkeypatch.setattr(_own_files, "IN_MEMORY", 1000)
    dataset = from_file(path)
    check_dataset(dataset)
    expected = from_arrays(images, GRID)
    index = torch.tensor([5, 2, 23, 2, 0, 11])
    assert torch.equal(dataset.images(index), expected.images(index))
    assert dataset.images(index[:0]).shape == (0, *dataset.spec.image_shape)
    assert dataset.content_hash == from_arrays(images[SHUFFLE], GRID[SHUFFLE]).content_hash
    with h5py.File(path, "r+") as file:
        file["images"][int(np.flatnonzero(SHUFFLE == 3)[0])] = 1
    assert (dataset.images(torch.tensor([3])) == 1).all()


def test_a_large_npz_file_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine.npz", images=PICTURES, factors=GRID)
    monkeypatch.setattr(_own_files, "IN_MEMORY", 1000)
    with pytest.raises(DisbenchError, match=r"3,456 bytes, too many.*from_arrays\(np.load\(path, mmap_mode"):
        from_file(path)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_wrong_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text("<html>not found</html>")
    with pytest.raises(DisbenchError, match="cannot be read as"):
        from_file(path)
    with pytest.raises(DisbenchError, match="24 images and 23 rows of factors"):
        from_file(write(path, images=PICTURES, factors=GRID[:-1]))
    with pytest.raises(DisbenchError, match=r"factors has shape .*expected .any, any"):
        from_file(write(path, images=PICTURES, factors=GRID[..., None]))
    with pytest.raises(DisbenchError, match=r"images has shape .24, 8, 6, 3, 1"):
        from_file(write(path, images=PICTURES[..., None], factors=GRID))
    with pytest.raises(DisbenchError, match="multiply by 255"):
        from_file(write(path, images=PICTURES > 9, factors=GRID))
    write(path, images=PICTURES, factors=GRID)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DisbenchError, match="cannot be read as"):
        from_file(path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=PICTURES, factors=np.array([{}] * N, dtype=object))
    with pytest.raises(DisbenchError, match="pickled objects"):
        from_file(tmp_path / "mine.npz")


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "images"), h5py.SoftLink("/elsewhere")])
def test_links_are_not_followed(tmp_path: Path, link: Any) -> None:
    write(tmp_path / "other.h5", images=PICTURES)
    with h5py.File(write(tmp_path / "mine.h5", elsewhere=PICTURES, factors=GRID), "r+") as file:
        file["images"] = link
    with pytest.raises(DisbenchError, match="images is a link to something else"):
        from_file(tmp_path / "mine.h5")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((10**9, 64, 64, 3), (10**9, 1)), "the factors have 8,000,000,000 bytes"),
        (((N, 10**6, 10**6, 3), (N, 1)), "each of the images has 24,000,000,000,000 bytes"),
        (((0, 64, 64, 3), (0, 1)), "images have shape"),
    ],
)
def test_absurd_shapes_are_refused_before_anything_is_read(tmp_path: Path, shapes: Any, message: str) -> None:
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for key, shape in zip(("images", "factors"), shapes, strict=True):
            chunks = (1, *(min(n, 64) for n in shape[1:])) if shape[0] else None
            file.create_dataset(key, shape=shape, chunks=chunks, dtype="float64")
    with pytest.raises(DisbenchError, match=message):
        from_file(tmp_path / "mine.h5")


def test_a_grid_can_be_evaluated(tmp_path: Path) -> None:
    settings = {path: size for path, size in SMALL.items() if path.split(".")[0] in ("factor_vae", "mig", "dci")}
    tiny = TinyDataset()
    order = np.random.default_rng(1).permutation(len(TINY))
    path = write(tmp_path / "tiny.npz", images=everything(tiny)[order], factors=FACTORS_OF_TINY.numpy()[order])
    own = evaluate(perfect_codes, from_file(path), protocol="quick", settings=settings)
    given = evaluate(perfect_codes, tiny, protocol="quick", settings=settings)
    assert own.values == given.values
    assert (own.values["mig"].value or 0) > 0.9


def test_finding_data_sets_does_not_load_them() -> None:
    code = "import sys, disbench.datasets as d; assert 'torch' not in sys.modules; d.from_file; "
    code += "assert not {'pandas', 'h5py', 'PIL.Image'} & {*sys.modules}; assert 'from_arrays' in dir(d)"
    subprocess.run([sys.executable, "-c", code], check=True)
