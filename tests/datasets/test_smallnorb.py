"""SmallNORB in its four conventions from miniatures of the binary matrices: rows shuffled, fewer views of each toy."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from disbench import arrays
from disbench.datasets import smallnorb
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe
from disbench.datasets.smallnorb import TESTING, TRAINING, Split
from disbench.errors import DisbenchError, UsageError
from disbench.testing import check_dataset
from tests.datasets.miniatures import picture, recipe_for, smaller

N_CATEGORIES, N_INSTANCES, N_ELEVATIONS, N_AZIMUTHS, N_LIGHTINGS = SIZES = (2, 10, 2, 3, 2)
N_ROWS = 2 * 5 * 2 * 3 * 2  # of a split
MAGIC = {"uint8": b"\x55\x4c\x3d\x1e", "int32": b"\x54\x4c\x3d\x1e", "int16": b"\x56\x4c\x3d\x1e"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)


def seen(*classes: int) -> np.ndarray:
    """uint8 (2, 96, 96): what the two cameras see of (category, instance 0 ... 9, elevation, azimuth, lighting)."""
    return picture(int(np.ravel_multi_index(classes, SIZES)), (2, 96, 96))


def labels_of(split: Split) -> np.ndarray:
    """int32 (n, 5): classes of the split's rows, in no order."""
    classes = np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), axis=1)
    classes = classes[np.isin(classes[:, 1], split.instances)]
    return np.random.default_rng(len(split.name)).permutation(classes).astype(np.int32)


def matrix(array: np.ndarray) -> bytes:
    """The bytes of a binary matrix: at least three dimensions are stored, whatever their number."""
    stored = [*array.shape, 1, 1][: max(3, array.ndim)]
    header = MAGIC[array.dtype.name] + np.array([array.ndim, *stored], "<i4").tobytes()
    return header + array.astype(array.dtype.newbyteorder("<")).tobytes()


def contents(split: Split, labels: np.ndarray | None = None) -> list[bytes]:
    """Of the dat, cat and info files; info names azimuths by even numbers."""
    classes = labels_of(split) if labels is None else labels
    dat = np.stack([seen(*row) for row in labels_of(split)[: len(classes)]])
    info = classes[:, 1:] * np.array([1, 1, 2, 1], np.int32)
    return [matrix(dat), matrix(classes[:, 0]), matrix(info)]


def write(folder: Path, split: Split, files: list[bytes] | None = None, is_packed: bool = True) -> None:
    for file, content in zip(split.files(is_packed), contents(split) if files is None else files, strict=True):
        (folder / file.name).write_bytes(gzip.compress(content, 1) if is_packed else content)


def small(recipe: Recipe, folder: Path | None = None) -> Recipe:
    """The recipe for the miniatures."""
    sizes = dict(zip(("category", "instance", "elevation", "azimuth", "lighting"), SIZES, strict=True))
    sizes["instance"] = 10 if recipe is smallnorb.FACTORS5 else 5
    return recipe_for(recipe, smaller(recipe.spec, [sizes[name] for name in recipe.spec.space.names]), folder)


def opened(recipe: Recipe, source: Path) -> Prepared:
    prepare(recipe, source=source, progress=False)
    return open_prepared(recipe)


def resized(image: np.ndarray, rule: str) -> np.ndarray:
    shrunk = Image.fromarray(image)
    if rule == "lanczos":
        shrunk.thumbnail((64, 64), Image.Resampling.LANCZOS)
    else:
        shrunk = shrunk.resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(shrunk)[..., None]


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "unpacked"])
def test_a_hidden_toy(tmp_path: Path, is_packed: bool) -> None:
    for split in smallnorb.SPLITS:
        write(tmp_path, split, is_packed=is_packed)
    dataset = opened(small(smallnorb.MERGED, tmp_path), tmp_path)
    check_dataset(dataset)
    space = dataset.spec.space
    assert space.names == ("category", "elevation", "azimuth", "lighting")
    assert len(dataset) == 10 * len(space) == 240
    for index in range(len(dataset)):
        category, *pose = space.values(torch.tensor(index % len(space))).tolist()
        expected = resized(seen(category, index // len(space), *pose)[0], "lanczos")
        np.testing.assert_array_equal(dataset.images(torch.tensor([index]))[0].numpy(), expected)
    combination = space.index(torch.tensor([1, 0, 2, 1])).repeat(200)
    drawn = dataset.spec.with_hidden(combination, Generator().manual_seed(0))
    assert len(drawn.unique()) == 10
    assert (dataset.factors(drawn) == torch.tensor([1, 0, 2, 1])).all()


def test_the_toy_as_a_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "SLAB", 7 * 2 * 96 * 96)  # rows come in many slabs, the last one shorter
    for split in smallnorb.SPLITS:
        write(tmp_path, split)
    dataset = opened(small(smallnorb.FACTORS5, tmp_path), tmp_path)
    check_dataset(dataset)
    assert dataset.spec.space.names == ("category", "instance", "elevation", "azimuth", "lighting")
    assert len(dataset) == 240
    for index in range(len(dataset)):
        classes = dataset.factors(torch.tensor([index]))[0].tolist()
        expected = resized(seen(*classes)[0], "bilinear")
        np.testing.assert_array_equal(dataset.images(torch.tensor([index]))[0].numpy(), expected)
    assert dataset.spec.space.index(torch.tensor([1, 7, 1, 2, 0])).item() == (((1 * 10 + 7) * 2 + 1) * 3 + 2) * 2


@pytest.mark.parametrize(
    ("recipe", "split", "instances"),
    [(smallnorb.TRAIN, TRAINING, (4, 6, 7, 8, 9)), (smallnorb.TEST, TESTING, (0, 1, 2, 3, 5))],
    ids=["train", "test"],
)
def test_one_split(tmp_path: Path, recipe: Recipe, split: Split, instances: tuple[int, ...]) -> None:
    write(tmp_path, split)
    dataset = opened(small(recipe, tmp_path), tmp_path / split.dat.name)
    check_dataset(dataset)
    assert len(dataset) == N_ROWS
    for index in range(len(dataset)):
        category, rank, *pose = dataset.factors(torch.tensor([index]))[0].tolist()
        expected = resized(seen(category, instances[rank], *pose)[0], "bilinear")
        np.testing.assert_array_equal(dataset.images(torch.tensor([index]))[0].numpy(), expected)


@pytest.mark.parametrize(
    ("recipe", "n_images", "sizes"),
    [
        (smallnorb.MERGED, 48_600, (5, 9, 18, 6)),
        (smallnorb.FACTORS5, 48_600, (5, 10, 9, 18, 6)),
        (smallnorb.TRAIN, 24_300, (5, 5, 9, 18, 6)),
        (smallnorb.TEST, 24_300, (5, 5, 9, 18, 6)),
    ],
)
def test_the_published_sizes(recipe: Recipe, n_images: int, sizes: tuple[int, ...]) -> None:
    assert recipe.spec.n_images == n_images
    assert recipe.spec.space.sizes == sizes
    assert recipe.spec.image_shape == (64, 64, 1)
    assert smallnorb.DATASETS[recipe.spec.name].recipe is recipe


def test_the_other_split_is_named_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, TRAINING, contents(TESTING))
    with pytest.raises(DisbenchError, match="rows are of the testing split; expected the training split, whose inst"):
        opened(small(smallnorb.TRAIN), tmp_path)
    write(tmp_path, TRAINING)
    write(tmp_path, TESTING, contents(TRAINING))
    with pytest.raises(
        DisbenchError, match=r"testing-info.mat.gz: these rows are of the training split; expected the t"
    ):
        opened(small(smallnorb.MERGED), tmp_path)
    assert not any((tmp_path / "cache" / "prepared").glob("smallnorb*/"))


def test_other_files_under_the_published_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path, TRAINING)
    with pytest.raises(DisbenchError, match=r"another file than smallnorb-.*-training-dat\.mat\.gz"):
        opened(smallnorb.TRAIN, tmp_path)
    with pytest.raises(UsageError, match=r"testing-info\.mat"):
        opened(smallnorb.MERGED, tmp_path)  # one split is missing


def wrong_labels(row: int, column: int, value: int) -> np.ndarray:
    labels = labels_of(TRAINING)
    labels[row, column] = value
    return labels


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (3, 0, 2, r"training-cat.*class of category in row 3 is 2; expected 0 ... 1"),
        (4, 0, -1, r"class of category in row 4 is -1; expected 0 ... 1"),
        (5, 2, 2, r"training-info.*class of elevation in row 5 is 2; expected 0 ... 1"),
        (6, 3, 3, r"class of azimuth in row 6 is 3; expected 0 ... 2"),
        (7, 4, -5, r"class of lighting in row 7 is -5; expected 0 ... 1"),
        (8, 1, 3, r"the instance of row 8 is 3; those of the training split are 4, 6, 7, 8, 9"),
    ],
)
def test_labels_out_of_range_are_refused(tmp_path: Path, row: int, column: int, value: int, message: str) -> None:
    write(tmp_path, TRAINING, contents(TRAINING, wrong_labels(row, column, value)))
    with pytest.raises(DisbenchError, match=message):
        opened(small(smallnorb.TRAIN), tmp_path)


def test_odd_azimuths_are_refused(tmp_path: Path) -> None:
    dat, cat, info = contents(TRAINING)
    at = 20 + 4 * (4 * 9 + 2)  # the header, then row 9, column 2
    write(tmp_path, TRAINING, [dat, cat, info[:at] + b"\x03\x00\x00\x00" + info[at + 4 :]])
    with pytest.raises(DisbenchError, match="azimuth of row 9 is 3; expected an even one"):
        opened(small(smallnorb.TRAIN), tmp_path)


def test_every_combination_must_be_there_once(tmp_path: Path) -> None:
    labels = labels_of(TRAINING)
    twice = min(tuple(labels[0]), tuple(labels[1]))
    labels[0] = labels[1] = twice
    write(tmp_path, TRAINING, contents(TRAINING, labels))
    first = f"2 images of category {twice[0]}, instance {TRAINING.instances.index(twice[1])}, elevation {twice[2]}"
    with pytest.raises(DisbenchError, match=f"{first}.*expected exactly one of each combination"):
        opened(small(smallnorb.TRAIN), tmp_path)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda dat: b"\x54" + dat[1:], r"type int32; expected \(120, 2, 96, 96\) and uint8"),
        (0, lambda dat: b"\x50" + dat[1:], "no binary matrix of NORB: it begins with 0x1e3d4c50, 4"),
        (0, lambda dat: dat[:4] + b"\xff\xff\xff\x7f" + dat[8:], "no binary matrix of NORB"),
        (0, lambda dat: dat[:-1], "cannot be read as a binary matrix of NORB: the data ends 1 bytes too early"),
        (0, lambda dat: dat + b"\0", "unpacks to more than 2,211,864 bytes"),
        (
            1,
            lambda cat: cat[:12] + cat[20:],
            "cannot be read as a binary matrix of NORB: the data ends 8 bytes too early",
        ),
        (1, lambda cat: cat[:8] + b"\x79" + cat[9:], r"shape \(121\) and type int32; expected \(120\) and int32"),
        (2, lambda _: b"", "cannot be read as a binary matrix of NORB: the data ends 8 bytes too early"),
    ],
    ids=["type", "magic", "dimensions", "short", "long", "one dimension stored", "rows", "empty"],
)
@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "unpacked"])
def test_wrong_matrices(tmp_path: Path, which: int, change: object, message: str, is_packed: bool) -> None:
    files = contents(TRAINING)
    files[which] = change(files[which])  # type: ignore[operator]
    write(tmp_path, TRAINING, files, is_packed)
    with pytest.raises(DisbenchError, match=message):
        opened(small(smallnorb.TRAIN), tmp_path)


def test_a_cut_off_download_is_refused(tmp_path: Path) -> None:
    write(tmp_path, TRAINING)
    path = tmp_path / TRAINING.dat.name
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(DisbenchError, match=r"cannot be read as a binary matrix of NORB.*fetch it again"):
        opened(small(smallnorb.TRAIN), tmp_path)


def test_published_files() -> None:
    """Each matrix has an address, a size and hashes packed, and a hash unpacked."""
    for split in smallnorb.SPLITS:
        for packed, unpacked in zip(split.files(True), split.files(False), strict=True):
            assert packed.urls == (smallnorb.HOMEPAGE + packed.name,)
            assert packed.size
            assert len(packed.sha256 or "") == 64
            assert len(packed.md5 or "") == len(unpacked.md5 or "") == 32
            assert f"{unpacked.name}.gz" == packed.name
