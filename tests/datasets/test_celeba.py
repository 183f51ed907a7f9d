"""celeba from miniatures of its zip, of the unpacked folder and of its attribute file."""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disbench.datasets import celeba
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.errors import DisbenchError, UsageError
from disbench.testing import check_dataset
from tests.datasets.miniatures import recipe_for

N = 7
Write = Callable[[Path], None]


def jpeg(number: int, size: tuple[int, int] = (178, 218)) -> bytes:
    """Smooth, so that neither JPEG nor resizing hides where it came from."""
    small = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(content, "JPEG", quality=95)
    return content.getvalue()


def attributes(number: int) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, 2, 40)


def attribute_file(
    names: Sequence[str] = celeba.ATTRIBUTES, rows: Sequence[str] | None = None, count: int | str | None = None
) -> bytes:
    """As published: a name, then each number in three columns, so that a 1 has two blanks before it and a -1 one."""
    if rows is None:
        rows = [f"{i:06d}.jpg" + "".join(f"{2 * bit - 1:3d}" for bit in attributes(i)) for i in range(1, N + 1)]
    lines = [str(len(rows) if count is None else count), " ".join(names) + " ", *rows]
    return "".join(f"{line}\n" for line in lines).encode()


def write(
    folder: Path, labels: bytes | None = None, pictures: dict[str, bytes] | None = None, is_packed: bool = True
) -> None:
    if pictures is None:
        pictures = {f"{i:06d}.jpg": jpeg(i) for i in range(1, N + 1)}
    (folder / "list_attr_celeba.txt").write_bytes(attribute_file() if labels is None else labels)
    if not is_packed:
        (folder / "img_align_celeba").mkdir()
        for name, content in pictures.items():
            (folder / "img_align_celeba" / name).write_bytes(content)
        return
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.mkdir("img_align_celeba")
        for name, content in reversed(pictures.items()):
            archive.writestr(f"img_align_celeba/{name}", content)


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "celeba") -> Prepared:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    recipe = celeba.RECIPES[name]
    recipe = dataclasses.replace(recipe_for(recipe, recipe.spec, tmp_path), n_images=N)
    prepare(recipe, source=tmp_path, progress=False)
    return open_prepared(recipe)


def cropped(number: int, name: str) -> np.ndarray:
    """Each crop once more, by coordinates."""
    with Image.open(io.BytesIO(jpeg(number))) as picture:
        pixels = np.asarray(picture)
    if name == "celeba@short_side":
        whole = Image.fromarray(pixels).resize((64, 78), Image.Resampling.BILINEAR)
        return np.asarray(whole)[7:71]
    rows, columns = {
        "celeba": (slice(57, 185), slice(25, 153)),
        "celeba@center148": (slice(35, 183), slice(15, 163)),
        "celeba@resize": (slice(None), slice(None)),
    }[name]
    part = Image.fromarray(np.ascontiguousarray(pixels[rows, columns]))
    return np.asarray(part.resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", celeba.RECIPES)
def test_image_i_has_the_attributes_of_row_i(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"  1" in attribute_file()
    write(tmp_path)
    dataset = opened(tmp_path, monkeypatch, name)
    check_dataset(dataset)
    assert len(dataset) == N
    assert dataset.spec.space.names == celeba.ATTRIBUTES
    index = torch.tensor([3, 0, 6, 1])
    for i, image, values in zip(index.tolist(), dataset.images(index), dataset.factors(index), strict=True):
        np.testing.assert_array_equal(image.numpy(), cropped(i + 1, name))
        np.testing.assert_array_equal(values.numpy(), attributes(i + 1))
    assert "BILINEAR" in dataset.notes["recipe"]["resize"]


def test_the_four_crops_differ() -> None:
    crops = [cropped(1, name) for name in celeba.RECIPES]
    assert len(np.unique(np.stack(crops), axis=0)) == len({recipe.resize for recipe in celeba.RECIPES.values()}) == 4


def test_there_are_forty_attributes_of_two_values() -> None:
    spec = celeba.RECIPES["celeba"].spec
    assert spec.space.sizes == (2,) * 40
    assert [spec.space.names[k] for k in (0, 15, 20, 31, 39)] == [
        *("5_o_Clock_Shadow", "Eyeglasses", "Male", "Smiling", "Young")
    ]
    assert list(spec.space.names) == sorted(spec.space.names)


@pytest.mark.parametrize("is_nested", [False, True])
def test_the_unpacked_folder(is_nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, is_packed=False)
    if is_nested:
        (tmp_path / "img_align_celeba").rename(tmp_path / "inner")
        (tmp_path / "img_align_celeba").mkdir()
        (tmp_path / "inner").rename(tmp_path / "img_align_celeba" / "img_align_celeba")
    dataset = opened(tmp_path, monkeypatch)
    for i in range(N):
        np.testing.assert_array_equal(dataset.images(torch.tensor([i]))[0].numpy(), cropped(i + 1, "celeba"))
        np.testing.assert_array_equal(dataset.factors(torch.tensor([i]))[0].numpy(), attributes(i + 1))


def changed_row(number: int, change: Callable[[str], str]) -> bytes:
    lines = attribute_file().decode().splitlines(keepends=True)
    lines[number + 1] = change(lines[number + 1])
    return "".join(lines).encode()


SWAPPED = (*celeba.ATTRIBUTES[:8], "Blond_Hair", "Black_Hair", *celeba.ATTRIBUTES[10:])

ROWS = attribute_file().decode().splitlines()[2:]

WRONG_LABELS = {
    "a web page": (b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>", "is a web page"),
    "another order": (attribute_file(SWAPPED), "attribute 9 is Blond_Hair; expected Black_Hair.*another order"),
    "39 names": (attribute_file(celeba.ATTRIBUTES[:39]), "names 39 attributes.*expected 40"),
    "no count": (attribute_file(count="image_id"), "begins with 'image_id'; expected the number of its rows"),
    "cut off": (b"\n".join(attribute_file().splitlines()[:-1]) + b"\n", "has 6 rows and says that it has 7"),
    "fewer rows": (attribute_file(rows=ROWS[:-1]), "7 rows of 40 labels; these are 6"),
    "a row left out": (attribute_file(rows=ROWS[1:]), "row 1 is of 000002.jpg; expected 000001.jpg"),
    "zeros": (changed_row(2, lambda row: row.replace(" -1", "  0")), "row of 000002.jpg is not 40 times -1 or 1"),
    "39 numbers": (changed_row(2, lambda row: row.rsplit(maxsplit=1)[0] + "\n"), "row of 000002.jpg is not 40 times"),
    "no text": (b"7\n\xff\xfe\x00", "cannot be read as a text of attributes"),
}


@pytest.mark.parametrize("what", WRONG_LABELS)
def test_wrong_labels_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, message = WRONG_LABELS[what]
    write(tmp_path, labels)
    with pytest.raises(DisbenchError, match=message):
        opened(tmp_path, monkeypatch)
    assert not any((tmp_path / "cache" / "prepared").glob("celeba*/"))


RIGHT = {f"{i:06d}.jpg": jpeg(i) for i in range(1, N + 1)}
MISSING = {name: content for name, content in RIGHT.items() if name != "000003.jpg"}

WRONG_PICTURES = {
    "missing": (MISSING, "holds 6 pictures and there are labels of 7: 000003.jpg is not there"),
    "surplus": ({**RIGHT, "000008.jpg": jpeg(8)}, "holds 8 pictures and there are labels of 7: 000008.jpg has none"),
    "renamed": ({**MISSING, "3.jpg": jpeg(3)}, "7 pictures.*000003.jpg is not there"),
    "another size": ({**RIGHT, "000003.jpg": jpeg(3, (64, 64))}, "000003.jpg is 64 x 64 pixels; expected 178 x 218"),
    "on its side": ({**RIGHT, "000003.jpg": jpeg(3, (218, 178))}, "is 218 x 178 pixels; expected 178 x 218"),
    "no picture": ({**RIGHT, "000003.jpg": b"<html>"}, "000003.jpg cannot be read as a picture"),
    "cut off": ({**RIGHT, "000003.jpg": jpeg(3)[:2000]}, "000003.jpg cannot be read as a picture"),
}


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("what", WRONG_PICTURES)
def test_wrong_pictures_are_refused(
    what: str, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, message = WRONG_PICTURES[what]
    write(tmp_path, pictures=pictures, is_packed=is_packed)
    with pytest.raises(DisbenchError, match=message):
        opened(tmp_path, monkeypatch)


def test_a_picture_that_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, pictures={**RIGHT, "000003.jpg": jpeg(3) + bytes(2 << 20)})
    with pytest.raises(DisbenchError, match=r"000003\.jpg has 2,.* bytes; expected at most"):
        opened(tmp_path, monkeypatch)


def test_the_published_files_are_demanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    recipe = dataclasses.replace(celeba.RECIPES["celeba"], n_images=N)
    with pytest.raises(UsageError, match=r"list_attr_celeba.txt \(26,721,026 bytes(.|\n)*drive.google.com"):
        prepare(dataclasses.replace(recipe, sources=recipe.sources[:1]), data_dir=tmp_path, progress=False)
    write(tmp_path)
    with pytest.raises(DisbenchError, match=r"img_align_celeba.zip has .* bytes of 1,443,490,838"):
        prepare(recipe, source=tmp_path, progress=False)
