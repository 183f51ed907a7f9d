"""sprites and sprites_full: characters composed of the Liberated Pixel Cup's sprite sheets, which the user brings.

`sprites_full` is the grid of all of Li and Mandt's sheets (39 PNG of 832 x 1344 in six folders). `sprites` leaves out
the combinations in which a layer is empty: bottomwear 5 and topwear 5 have nothing drawn for thrusting and shooting,
and no eyes are seen from behind.

Known defects: eyes cannot be seen in 8 poses of `sprites` and in 38 of `sprites_full`; in `sprites_full` bottomwear 5
and topwear 5 are invisible in 48 of 120 poses; two poses are the same picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from disbench import archives
from disbench.datasets._grid import Grid
from disbench.datasets._preparing import row_of_numbers
from disbench.errors import UsageError
from disbench.registry import Check, DatasetEntry
from disbench.sources import data_folders
from disbench.types import Dataset, DatasetSpec, Factor, FactorSpace, Indices, Pixels

SIDE = 64
SHEET_SIZE = (13 * SIDE, 21 * SIDE)
FOLDER = "sprites_lpc"

_LICENCE = "CC-BY-SA 3.0 or GPL 3.0 (Liberated Pixel Cup); composed images inherit it"
_CITATION = (
    "@inproceedings{li2018disentangled, title={Disentangled Sequential Autoencoder}, "
    "author={Li, Yingzhen and Mandt, Stephan}, booktitle={ICML}, year={2018}}"
)
_HOMEPAGE = "https://github.com/YingzhenLi/Sprites"
_SAME_POSE = "the poses (walk, front, frame 0) and (slash, front, frame 0) are the same picture"


def _space(n_clothes: int, n_rotations: int) -> FactorSpace:
    return FactorSpace(
        (
            Factor("bottomwear", n_clothes, "categorical"),
            Factor("topwear", n_clothes, "categorical"),
            Factor("hair", 10, "categorical"),
            Factor("eyes", 5, "categorical"),
            Factor("shoes", 3, "categorical"),
            Factor("body", 7, "categorical"),
            Factor("action", 5, "categorical"),
            Factor("rotation", n_rotations, "ordinal"),
            Factor("frame", 6, "ordinal"),
        )
    )


SPEC = DatasetSpec(
    name="sprites",
    summary="game characters of the Liberated Pixel Cup: 3,402,000 images, 9 factors, needs 39 sprite sheets",
    space=_space(6, 3),
    image_shape=(SIDE, SIDE, 3),
    licence=_LICENCE,
    citation=_CITATION,
    homepage=_HOMEPAGE,
    known_defects=(
        "eyes cannot be seen in 8 of the 90 poses (spellcard frames 2 and 3; shoot frame 5 from the sides)",
        _SAME_POSE,
    ),
    made_on="any",
)

FULL = replace(
    SPEC,
    name="sprites_full",
    summary="the same with every sheet and the back view: 6,174,000 images, 9 factors, needs 39 sprite sheets",
    space=_space(7, 4),
    known_defects=(
        "bottomwear 5 and topwear 5 are empty in the 48 of 120 poses that thrust or shoot",
        "eyes cannot be seen in 38 of 120 poses (from behind; spellcard frames 2 and 3; shoot frame 5 from the sides)",
        _SAME_POSE,
    ),
)

N_SHEETS = {"body": 7, "shoes": 3, "bottomwear": 7, "topwear": 7, "eyes": 5, "hair": 10}  # in the order of painting
N_ALL_SHEETS = sum(N_SHEETS.values())
N_ACTIONS, N_ROTATIONS, N_FRAMES = 5, 4, 6
OPAQUE_ABOVE = 128  # of 255: at most half transparent pixels are left out, the others copied


class SpritesFull(Grid):
    """Every combination, from a folder with the folders body, shoes, bottomwear, topwear, eyes and hair in it."""

    spec = FULL
    first_rotation = 0  # the one that the factor's value 0 stands for
    without_sheet_5: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if missing := next(_missing_sheets(folder), None):
            raise UsageError(
                f"the sprite sheet {missing} is missing. Put the {N_ALL_SHEETS} sheets of {_HOMEPAGE} there, as "
                "LAYER/NUMBER.png, or name their folder with --data-dir or DISBENCH_DATA."
            )
        self._layers_on: dict[torch.device, dict[str, Tensor]] = {}

    def images(self, index: Indices) -> Pixels:
        """Pixels uint8 (n, 64, 64, 3) of images (n,), on the device of the index."""
        values = dict(zip(self.spec.space.names, self.spec.space.values(index).T, strict=True))
        rotation = values["rotation"] + self.first_rotation
        pose = (values["action"] * N_ROTATIONS + rotation) * N_FRAMES + values["frame"]
        packed = torch.zeros(len(index), SIDE, SIDE, dtype=torch.int32, device=index.device)
        for layer, cells in self._layers_where(index.device).items():
            sheet = values[layer]
            if layer in self.without_sheet_5:
                sheet = sheet + (sheet >= 5)
            cell = cells[sheet, pose]
            packed = torch.where(cell == 0, packed, cell)
        return packed.view(torch.uint8).view(-1, SIDE, SIDE, 4)[..., :3]

    def _layers_where(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._layers_on:
            self._layers_on[device] = {layer: cells.to(device) for layer, cells in self._layers.items()}
        return self._layers_on[device]

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes and all the sheets."""
        space = self.spec.space
        digest = hashlib.sha256(repr(list(zip(space.names, space.sizes, strict=True))).encode())
        for cells in self._layers.values():
            digest.update(cells.numpy().data)
        return digest.hexdigest()

    @cached_property
    def _layers(self) -> dict[str, Tensor]:
        """By layer, in the order of painting: int32 (sheet, pose, 64, 64), a pixel's four bytes, 0 where nothing is."""
        return {
            layer: torch.stack([_read_sheet(self.folder / layer / f"{sheet}.png") for sheet in range(n_sheets)])
            for layer, n_sheets in N_SHEETS.items()
        }


class Sprites(SpritesFull):
    """The combinations in which clothes are never empty and the character is not seen from behind."""

    spec = SPEC
    first_rotation = 1
    without_sheet_5 = ("bottomwear", "topwear")


def _missing_sheets(folder: Path) -> Iterator[Path]:
    paths = (folder / layer / f"{sheet}.png" for layer, n_sheets in N_SHEETS.items() for sheet in range(n_sheets))
    return (path for path in paths if not path.is_file())


def _read_sheet(path: Path) -> Tensor:
    """int32 (pose, 64, 64): red, green, blue and 255, or 0 where the sheet is not opaque.

    pose = (action * 4 + rotation) * 6 + frame.
    """
    picture = archives.open_picture(path, str(path), SHEET_SIZE, "RGBA")
    pixels = torch.from_numpy(np.array(picture))  # (1344, 832, 4)
    is_opaque = pixels[..., 3:] > OPAQUE_ABOVE
    pixels[..., 3] = 255
    packed = (pixels * is_opaque).view(torch.int32).squeeze(-1)
    rows = N_ACTIONS * N_ROTATIONS
    used = packed[: rows * SIDE, : N_FRAMES * SIDE].reshape(rows, SIDE, N_FRAMES, SIDE)
    return used.transpose(1, 2).reshape(rows * N_FRAMES, SIDE, SIDE)


def _folder(data_dir: Path | None) -> Path | None:
    """Where the sheets are or should be: in a folder `sprites_lpc`, else in the folder that the user named."""
    folders = data_folders(data_dir)
    named = folders[:-1]  # the last is that of downloads
    return next((folder / FOLDER for folder in folders if (folder / FOLDER).is_dir()), named[0] if named else None)


def _open(made: type[SpritesFull], data_dir: Path | None) -> SpritesFull:
    folder = _folder(data_dir)
    if folder is None:
        raise UsageError(
            f"{made.spec.name} needs the {N_ALL_SHEETS} sheets of {_HOMEPAGE} (LAYER/NUMBER.png, in a folder "
            f"{FOLDER}). Name the folder that holds {FOLDER} with --data-dir or the environment variable DISBENCH_DATA."
        )
    return made(folder)


def _here(data_dir: Path | None) -> str:
    folder = _folder(data_dir)
    is_complete = folder is not None and not any(_missing_sheets(folder))
    return "sheets found" if is_complete else f"needs {N_ALL_SHEETS} sprite sheets (by hand)"


N_CHECKED = 20_000
TOLERANCE = 1e-3  # four to six standard errors of what 20,000 images give


def _checks(content: str, mean: Sequence[float], spread: Sequence[float], dataset: Dataset) -> Iterator[Check]:
    """All sheets; then channel means and the mean spread within an image (unbiased) of random images."""
    found_hash = dataset.content_hash
    yield Check("all sheets", f"sha256 {content[:16]}", f"sha256 {found_hash[:16]}", found_hash == content)
    index = torch.randint(len(dataset), (N_CHECKED,), generator=torch.Generator().manual_seed(0))
    found = torch.zeros(2, 3, dtype=torch.float64)
    for some in index.split(500):
        pixels = dataset.images(some).flatten(1, 2).double() / 255
        found += torch.stack([pixels.mean(1).sum(0), pixels.std(1).sum(0)])
    found /= N_CHECKED
    names = ("channel means", "mean spread within an image")
    for name, known, ours in zip(names, (mean, spread), found, strict=True):
        holds = bool((ours - torch.tensor(known, dtype=torch.float64)).abs().max() <= TOLERANCE)
        yield Check(
            f"{name} of {N_CHECKED:,} random images", row_of_numbers(known), row_of_numbers(ours.tolist()), holds
        )


def _entry(made: type[SpritesFull], content: str, mean: Sequence[float], spread: Sequence[float]) -> DatasetEntry:
    return DatasetEntry(made.spec, partial(_open, made), here=_here, checks=partial(_checks, content, mean, spread))


DATASETS = {
    SPEC.name: _entry(
        Sprites,
        "149a25b8cf3e9c1a306ed0905dd6600012e8655bf3ccbd045fac05960415101c",
        (0.09755, 0.07621, 0.07189),
        (0.22704, 0.19500, 0.18181),
    ),  # measured, ours
    FULL.name: _entry(  # published
        SpritesFull,
        "7de0e30859e20f3af617eef918a2d460d8e24c59dd95262862bbd2db4b30be3b",
        (0.09933294682299235, 0.07689101333193574, 0.0724788139837905),
        (0.22891812398973602, 0.19518729133092955, 0.18148902745291426),
    ),
}
