"""What can be compared: folders, npz files, data sets and files of statistics."""

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from disbench import archives
from disbench.datasets import from_arrays
from disbench.errors import DisbenchError, UsageError
from disbench.image_sets import ImageSet, StatisticsFile, open_images
from tests.conftest import TinyDataset


def random_pixels(n: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 5, channels), dtype=np.uint8)


def write_folder(folder: Path, pixels: np.ndarray) -> Path:
    """Pictures in two folders whose names sort as the pixels do."""
    for number, image in enumerate(pixels):
        path = folder / ("a" if number < len(pixels) // 2 else "b") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return folder


def all_of(images: Any, batch_size: int = 4) -> Tensor:
    return torch.cat(list(images.batches(batch_size)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["folder", "images", "arr_0", "imgs", "data", "dataset"])
def test_every_source_gives_its_pixels(kind: str, channels: int, tmp_path: Path) -> None:
    pixels = random_pixels(9, channels)
    source: Any = tmp_path / "images.npz"
    if kind == "folder":
        source = write_folder(tmp_path / "pictures", pixels)
        (source / "a" / "notes.txt").write_text("passed over")
    elif kind == "dataset":
        source = from_arrays(pixels, np.arange(9) % 2)
    else:
        np.savez_compressed(source, **{kind: pixels[..., 0] if channels == 1 else pixels, "labels": np.arange(9)})
    images = open_images(source)
    assert isinstance(images, ImageSet)
    assert len(images) == 9
    assert images.shape == (6, 5, channels)
    torch.testing.assert_close(all_of(images), torch.from_numpy(pixels))
    index = torch.tensor([8, 2, 3, 0, 7, 4])
    some = list(images.batches(4, index))
    assert max(len(batch) for batch in some) <= 4
    torch.testing.assert_close(torch.cat(some), torch.from_numpy(pixels)[index.sort().values])


def test_a_set_in_slabs_and_by_column_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_pixels(23)
    np.savez(tmp_path / "rows.npz", images=pixels)
    np.savez(tmp_path / "columns.npz", images=np.asfortranarray(pixels))
    expected = open_images(tmp_path / "rows.npz").content_hash
    monkeypatch.setattr("disbench.arrays.SLAB", 5 * pixels[0].nbytes)
    for name in ("rows.npz", "columns.npz"):
        images = open_images(tmp_path / name)
        torch.testing.assert_close(all_of(images, 3), torch.from_numpy(pixels))
        index = torch.tensor([4, 5, 9, 10, 21])  # on both sides of where slabs meet, and none of one slab
        torch.testing.assert_close(torch.cat(list(images.batches(2, index))), torch.from_numpy(pixels)[index])
        assert images.content_hash == expected


def test_pictures_of_a_folder_are_read_when_their_turn_comes(tmp_path: Path) -> None:
    images = open_images(write_folder(tmp_path, random_pixels(8)))
    with patch.object(archives, "picture_as_it_is", wraps=archives.picture_as_it_is) as read:
        batches = iter(images.batches(2))
        next(batches)
        assert read.call_count == 2
        next(batches)
        assert read.call_count == 4


def test_content_hashes_tell_sets_apart(tmp_path: Path) -> None:
    pixels = random_pixels(6)
    changed = pixels.copy()
    changed[3, 2, 2, 1] ^= 1
    hashes = [
        open_images(write_folder(tmp_path / str(k), p)).content_hash for k, p in enumerate([pixels, pixels, changed])
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    (tmp_path / "0" / "a" / "000.png").rename(tmp_path / "0" / "a" / "0000.png")
    assert open_images(tmp_path / "0").content_hash != hashes[0]
    np.savez(tmp_path / "x.npz", images=pixels)
    np.savez_compressed(tmp_path / "y.npz", arr_0=pixels)
    np.savez(tmp_path / "z.npz", images=changed)
    hashes = [open_images(tmp_path / f"{name}.npz").content_hash for name in "xyz"]
    assert hashes[0] == hashes[1] != hashes[2]
    tiny = TinyDataset()
    assert open_images(tiny).content_hash == tiny.content_hash


def test_a_draw_is_distinct_seeded_and_grows() -> None:
    images = open_images(TinyDataset())
    drawn = images.draw(100, seed=1)
    assert len(drawn.unique()) == 100
    assert torch.equal(drawn, images.draw(200, seed=1)[:100])
    assert not torch.equal(drawn, images.draw(100, seed=2))
    assert torch.equal(images.draw(None, seed=1), torch.arange(256))
    with pytest.raises(UsageError, match=r"257 images were asked for, and tiny has 256\."):
        images.draw(257, seed=0)
    for number in (1, 0, -1):
        with pytest.raises(UsageError, match=rf"at least 2 images of each; got {number}\."):
            images.draw(number, seed=0)


def test_a_data_set_is_opened_by_name() -> None:
    images = open_images("rooms3d")
    assert isinstance(images, ImageSet)
    assert (images.name, len(images), images.shape) == ("rooms3d", 480_000, (64, 64, 3))


def test_sets_without_an_end_need_a_number() -> None:
    images = ImageSet("noisy", 2**36, (4, 4, 3), lambda *_: iter(()), lambda: "")
    with pytest.raises(UsageError, match=r"say how many are compared: --num-images N"):
        images.draw(None, seed=0)
    assert len(images.draw(1000, seed=0).unique()) == 1000


def test_a_file_of_statistics_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    found = open_images(path)
    assert isinstance(found, StatisticsFile)
    assert found.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_images(found) is found


def _broken(folder: Path) -> None:
    write_folder(folder, random_pixels(4))
    path = folder / "b" / "003.png"
    path.write_bytes(path.read_bytes()[:60])


def _no_picture(folder: Path) -> None:
    write_folder(folder, random_pixels(4))
    (folder / "b" / "003.png").write_text("<html>")


def _of_two_sizes(folder: Path) -> None:
    write_folder(folder, random_pixels(4))
    Image.fromarray(np.zeros((7, 5, 3), np.uint8)).save(folder / "b" / "003.png")


def _grey_among_colour(folder: Path) -> None:
    write_folder(folder, random_pixels(4))
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(folder / "b" / "003.png")


def _with_alpha(folder: Path) -> None:
    write_folder(folder, random_pixels(4))
    Image.fromarray(np.zeros((6, 5, 4), np.uint8)).save(folder / "b" / "003.png")


def _deep(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((6, 5), np.uint16)).save(folder / "000.png")


def _deep_in_colour(folder: Path) -> None:
    """Two bytes a channel, which Pillow reads but does not write."""
    folder.mkdir(exist_ok=True)
    rows = b"".join(b"\0" + bytes(5 * 3 * 2) for _ in range(6))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    (folder / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def _deep_ppm(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "000.ppm").write_bytes(b"P6\n5 6\n1023\n" + bytes(5 * 6 * 3 * 2))


def _without_pictures(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("nothing here")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_broken, r"003\.png cannot be read as a picture"),
        (_no_picture, r"003\.png cannot be read as a picture"),
        (_of_two_sizes, r"003\.png has \(7, 5, 3\) rows, columns and channels; the first picture has \(6, 5, 3\)"),
        (_grey_among_colour, r"003\.png has \(6, 5, 1\) rows, columns and channels"),
        (_with_alpha, r"003\.png has the colour mode RGBA; save it as grey or RGB, 8 bits, no transparency"),
        (_deep, r"000\.png has the colour mode I;16, 16 bits a channel; save it as grey or RGB, 8 bits"),
        (_deep_in_colour, r"000\.png has the colour mode RGB, 16 bits a channel"),
        (_deep_ppm, r"000\.ppm has the colour mode RGB, 16 bits a channel"),
        (_without_pictures, r"holds no pictures; expected files of these kinds: bmp, gif, jpeg, jpg, pgm, png, ppm"),
    ],
)
def test_bad_folders_are_refused_in_one_sentence(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DisbenchError, match=message):
        all_of(open_images(tmp_path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": random_pixels(2)}, r"holds no array images, arr_0, imgs or data, nor statistics mu and sigma"),
        ({"mu": np.zeros(2)}, r"holds no array .*; it holds mu\."),
        ({"images": np.moveaxis(random_pixels(2), -1, 1)}, r"the channel comes last: numpy.moveaxis\(images, 1, -1\)"),
        ({"images": random_pixels(2) / 255}, r"is of type float64; expected uint8.*\(images \* 255\)\.round\(\)"),
        ({"images": random_pixels(2).astype(np.int64)}, r"is of type int64; expected uint8"),
        ({"images": random_pixels(2, channels=4)}, r"expected grey or RGB.*leave transparency out"),
        ({"images": random_pixels(2, channels=2)}, r"expected grey or RGB, 1 or 3 channels\.$"),
        ({"images": np.zeros((0, 6, 5, 3), np.uint8)}, r"expected at least one image"),
        ({"images": np.zeros((5, 6), np.uint8)}, r"has shape \(5, 6\) and type uint8; expected \(any, any, any, any\)"),
        ({"images": np.array([{}, {}])}, r"holds pickled objects, which can run code"),
    ],
)  # fmt: skip
def test_bad_npz_files_are_refused_in_one_sentence(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, **arrays)
    with pytest.raises(DisbenchError, match=message):
        open_images(path)


def test_damaged_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, images=random_pixels(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DisbenchError, match=r"cannot be read as a zip file.*damaged"):
        all_of(open_images(path), 100)
    with pytest.raises(DisbenchError, match=r"cannot be read as a zip file.*damaged"):
        _ = open_images(path).content_hash
    path.write_bytes(content[:500])
    with pytest.raises(DisbenchError, match=r"cannot be read as a zip file"):
        open_images(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("room3d", r"no folder, npz file or data set called 'room3d'; did you mean 'rooms3d'\?"),
        ("qqqqqqqq", r"no folder, npz file or data set called 'qqqqqqqq'; disbench list datasets names"),
        ("no/such/folder", r"there is no folder or npz file at no/such/folder"),
        ("none.npz", r"there is no folder or npz file at none\.npz"),
        ("beamsynthesis", r"beamsynthesis has observations 1000 x 1 float32; features are found in pictures"),
        (Path(__file__), r"is neither a folder of pictures nor an npz file"),
        (7, r"images are a folder, an npz file, an array or a data set; got int"),
    ],
)
def test_what_is_not_there_is_said(source: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_images(source)
