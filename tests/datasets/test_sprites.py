"""sprites and sprites_full from sheets made here, of the true size, and from the real ones."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disbench.datasets import sprites
from disbench.datasets.sprites import Sprites, SpritesFull
from disbench.errors import DisbenchError, UsageError
from disbench.registry import datasets
from disbench.testing import check_dataset

ORDER = ("body", "shoes", "bottomwear", "topwear", "eyes", "hair")
N_SHEETS = (7, 3, 7, 7, 5, 10)
HASH = "149a25b8cf3e9c1a306ed0905dd6600012e8655bf3ccbd045fac05960415101c"


def cell(layer: int, sheet: int, row: int, column: int) -> np.ndarray:
    """RGBA (64, 64, 4): pixel (0, layer) names the cell; pixels (1, ...) are fought over; one is not opaque enough."""
    drawn = np.zeros((64, 64, 4), np.uint8)
    drawn[0, layer] = (10 * layer + sheet + 1, row + 1, column + 1, 255)
    drawn[1, : 6 - layer] = (100 + layer, 100 + sheet, 7, 129)
    drawn[2, layer] = (200, 200, 200, 128)
    return drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sheets")
    for layer, (name, n_sheets) in enumerate(zip(ORDER, N_SHEETS, strict=True)):
        (root / name).mkdir()
        for sheet in range(n_sheets):
            pixels = np.zeros((21 * 64, 13 * 64, 4), np.uint8)
            for row, column in itertools.product(range(21), range(13)):
                pixels[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = cell(layer, sheet, row, column)
            Image.fromarray(pixels).save(root / name / f"{sheet}.png", compress_level=1)
    return root


def composed(sheets: dict[str, int], row: int, column: int) -> np.ndarray:
    canvas = np.zeros((64, 64, 3), np.uint8)
    for layer, name in enumerate(ORDER):
        drawn = cell(layer, sheets[name], row, column)
        for y, x in itertools.product(range(3), range(64)):
            if drawn[y, x, 3] > 128:
                canvas[y, x] = drawn[y, x, :3]
    return canvas


def expected(values: Sequence[int], is_reduced: bool) -> np.ndarray:
    names = ("bottomwear", "topwear", "hair", "eyes", "shoes", "body")
    sheets = dict(zip(names, values, strict=False))
    action, rotation, frame = values[6:]
    if is_reduced:
        rotation += 1
        for clothes in ("bottomwear", "topwear"):
            sheets[clothes] = 6 if sheets[clothes] == 5 else sheets[clothes]
    return composed(sheets, 4 * action + rotation, frame)


@pytest.mark.parametrize("made", [Sprites, SpritesFull])
def test_image_i_has_the_factors_of_index_i(made: type[SpritesFull], folder: Path) -> None:
    dataset = made(folder)
    is_reduced = made is Sprites
    assert dataset.spec.space.sizes == ((6, 6, 10, 5, 3, 7, 5, 3, 6) if is_reduced else (7, 7, 10, 5, 3, 7, 5, 4, 6))
    index = torch.randint(len(dataset), (60,), generator=torch.Generator().manual_seed(0))
    index = torch.cat([index, torch.tensor([0, len(dataset) - 1])])
    for row, image in zip(index.tolist(), dataset.images(index).numpy(), strict=True):
        values = [int(value) for value in np.unravel_index(row, dataset.spec.space.sizes)]
        assert dataset.factors(torch.tensor([row])).tolist() == [values]
        np.testing.assert_array_equal(image, expected(values, is_reduced))


def test_the_grids_differ_where_they_should(folder: Path) -> None:
    reduced, full = Sprites(folder), SpritesFull(folder)
    assert reduced.content_hash != full.content_hash
    of_reduced = torch.tensor([[5, 2, 0, 0, 0, 0, 1, 0, 4]])
    of_full = torch.tensor([[6, 2, 0, 0, 0, 0, 1, 1, 4]])
    same = full.images(full.spec.space.index(of_full))
    assert torch.equal(reduced.images(reduced.spec.space.index(of_reduced)), same)


def test_images_are_made_where_the_index_is(folder: Path) -> None:
    """Whatever is made without naming a device would land on torch's default one, which here has no memory."""
    dataset = SpritesFull(folder)
    assert dataset.spec.made_on == "any"
    index = torch.arange(0, len(dataset), len(dataset) // 7)
    expected_pixels = dataset.images(index)
    with torch.device("meta"):
        assert torch.equal(dataset.images(index), expected_pixels)
    if torch.cuda.is_available():
        assert torch.equal(dataset.images(index.cuda()).cpu(), expected_pixels)


def test_missing_and_wrong_sheets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    for name in ("sprites", "sprites_full"):
        entry = datasets()[name]
        assert entry.here(None) == entry.here(tmp_path) == "needs 39 sprite sheets (by hand)"
        with pytest.raises(UsageError, match=f"{name} needs the 39 sheets.*--data-dir"):
            entry.open(None)
        with pytest.raises(UsageError, match=r"sheet .*0.png is missing"):
            entry.open(tmp_path)
    for layer, n_sheets in zip(ORDER, N_SHEETS, strict=True):
        (tmp_path / "sprites_lpc" / layer).mkdir(parents=True)
        for sheet in range(n_sheets):
            (tmp_path / "sprites_lpc" / layer / f"{sheet}.png").write_bytes(b"no picture")
    assert datasets()["sprites_full"].here(tmp_path) == "sheets found"
    with pytest.raises(DisbenchError, match=r"body.0.png cannot be read as a picture"):
        datasets()["sprites_full"].open(tmp_path).images(torch.tensor([0]))
    Image.new("RGBA", (64, 64)).save(tmp_path / "sprites_lpc" / "body" / "0.png")
    with pytest.raises(DisbenchError, match="is 64 x 64 pixels; expected 832 x 1344"):
        datasets()["sprites"].open(tmp_path).images(torch.tensor([0]))


def test_checks_tell_right_sheets_from_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "N_CHECKED", 500)
    checks = list(datasets()["sprites"].checks(Sprites(folder)))
    assert [check.holds for check in checks] == [False, False, False]


def test_the_real_sheets(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reduced grid is what it always was; the full one has the published statistics (standard error .00032)."""
    assert datasets()["sprites"].open(data_dir).content_hash == HASH
    entry = datasets()["sprites_full"]
    assert entry.here(data_dir) == "sheets found"
    dataset = entry.open(data_dir)
    check_dataset(dataset)
    monkeypatch.setattr(sprites, "N_CHECKED", 5000)
    monkeypatch.setattr(sprites, "TOLERANCE", 1.5e-3)
    checks = list(entry.checks(dataset))
    assert [check.what.split(" of ")[0] for check in checks] == [
        "all sheets",
        "channel means",
        "mean spread within an image",
    ]
    assert all(check.holds for check in checks), checks


def test_layers_that_are_empty_in_the_full_grid(data_dir: Path) -> None:
    dataset = datasets()["sprites_full"].open(data_dir)
    space = dataset.spec.space
    thrust_left = torch.tensor([[5, 5, 0, 0, 0, 0, 1, 1, 0], [5, 0, 0, 0, 0, 0, 1, 1, 0], [0, 5, 0, 0, 0, 0, 1, 1, 0]])
    from_behind = torch.tensor([[0, 0, 0, eyes, 0, 0, 2, 0, 3] for eyes in range(5)])
    from_the_front = torch.tensor([[0, 0, 0, eyes, 0, 0, 2, 2, 3] for eyes in range(5)])
    assert len(dataset.images(space.index(thrust_left)).flatten(1).unique(dim=0)) == 3
    cells = dataset._layers
    assert not cells["bottomwear"][5, 1 * 24 : 2 * 24].any()
    assert not cells["topwear"][5, 4 * 24 : 5 * 24].any()
    assert len(dataset.images(space.index(from_behind)).flatten(1).unique(dim=0)) == 1
    assert len(dataset.images(space.index(from_the_front)).flatten(1).unique(dim=0)) == 5
