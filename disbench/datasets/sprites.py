"""sprites: characters composed of the Liberated Pixel Cup's sprite sheets, which the user brings.

The grid of Li and Mandt's sheets (39 PNG of 832 x 1344 in six folders) without the combinations in which a layer is
empty: bottomwear 5 and topwear 5 have nothing drawn for thrusting and shooting, and no eyes are seen from behind.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from disbench.datasets._grid import Grid
from disbench.errors import DisbenchError, UsageError
from disbench.registry import DatasetEntry
from disbench.types import DatasetSpec, Factor, FactorSpace, Indices, Pixels

SIDE = 64
SHEET_SIZE = (13 * SIDE, 21 * SIDE)
FOLDER = "sprites_lpc"

SPEC = DatasetSpec(
    name="sprites",
    summary="game characters of the Liberated Pixel Cup: 3,402,000 images, 9 factors, needs 39 sprite sheets",
    space=FactorSpace(
        (
            Factor("bottomwear", 6, "categorical"),
            Factor("topwear", 6, "categorical"),
            Factor("hair", 10, "categorical"),
            Factor("eyes", 5, "categorical"),
            Factor("shoes", 3, "categorical"),
            Factor("body", 7, "categorical"),
            Factor("action", 5, "categorical"),
            Factor("rotation", 3, "ordinal"),
            Factor("frame", 6, "ordinal"),
        )
    ),
    image_shape=(SIDE, SIDE, 3),
    licence="CC-BY-SA 3.0 or GPL 3.0 (Liberated Pixel Cup); composed images inherit it",
    citation=(
        "@inproceedings{li2018disentangled, title={Disentangled Sequential Autoencoder}, "
        "author={Li, Yingzhen and Mandt, Stephan}, booktitle={ICML}, year={2018}}"
    ),
    homepage="https://github.com/YingzhenLi/Sprites",
    known_defects=(
        "eyes cannot be seen in 8 of the 90 poses (spellcard frames 2 and 3; shoot frame 5 from the sides)",
        "the poses (walk, front, frame 0) and (slash, front, frame 0) are the same picture",
    ),
)

N_SHEETS = {"body": 7, "shoes": 3, "bottomwear": 7, "topwear": 7, "eyes": 5, "hair": 10}  # in the order of painting
WITHOUT_SHEET_5 = ("bottomwear", "topwear")
N_ACTIONS, N_ROTATIONS, N_FRAMES = 5, 4, 6
OPAQUE_ABOVE = 128  # of 255: at most half transparent pixels are left out, the others copied


class Sprites(Grid):
    """The data set, from a folder with the folders body, shoes, bottomwear, topwear, eyes and hair in it."""

    spec = SPEC

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for layer, n_sheets in N_SHEETS.items():
            for sheet in range(n_sheets):
                path = folder / layer / f"{sheet}.png"
                if not path.is_file():
                    raise UsageError(
                        f"the sprite sheet {path} is missing. Put the {sum(N_SHEETS.values())} sheets of "
                        f"{SPEC.homepage} there, as LAYER/NUMBER.png, or name their folder with --data-dir or "
                        "DISBENCH_DATA."
                    )

    def images(self, index: Indices) -> Pixels:
        """Pixels uint8 (n, 64, 64, 3) of images (n,)."""
        values = dict(zip(SPEC.space.names, SPEC.space.values(index).T, strict=True))
        pose = values["action"] * N_ROTATIONS * N_FRAMES + (values["rotation"] + 1) * N_FRAMES + values["frame"]
        packed = torch.zeros(len(index), SIDE, SIDE, dtype=torch.int32)
        for layer, cells in self._layers.items():
            sheet = values[layer]
            if layer in WITHOUT_SHEET_5:
                sheet = sheet + (sheet >= 5)
            cell = cells[sheet, pose]
            packed = torch.where(cell == 0, packed, cell)
        return packed.view(torch.uint8).view(-1, SIDE, SIDE, 4)[..., :3]

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes and all the sheets."""
        digest = hashlib.sha256(repr(list(zip(SPEC.space.names, SPEC.space.sizes, strict=True))).encode())
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


def _read_sheet(path: Path) -> Tensor:
    """int32 (pose, 64, 64): red, green, blue and 255, or 0 where the sheet is not opaque.

    pose = (action * 4 + rotation) * 6 + frame.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size != SHEET_SIZE:
                raise DisbenchError(
                    f"{path} is {image.size[0]} x {image.size[1]} pixels; a sprite sheet has 832 x 1344."
                )
            pixels = torch.from_numpy(np.array(image.convert("RGBA")))  # (1344, 832, 4)
    except OSError as error:
        raise DisbenchError(f"{path} cannot be read as a PNG: {error}.") from error
    is_opaque = pixels[..., 3:] > OPAQUE_ABOVE
    pixels[..., 3] = 255
    packed = (pixels * is_opaque).view(torch.int32).squeeze(-1)
    rows = N_ACTIONS * N_ROTATIONS
    used = packed[: rows * SIDE, : N_FRAMES * SIDE].reshape(rows, SIDE, N_FRAMES, SIDE)
    return used.transpose(1, 2).reshape(rows * N_FRAMES, SIDE, SIDE)


def _open(data_dir: Path | None) -> Sprites:
    named = data_dir or (Path(os.environ["DISBENCH_DATA"]) if os.environ.get("DISBENCH_DATA") else None)
    if named is None:
        raise UsageError(
            f"sprites needs the {sum(N_SHEETS.values())} sheets of {SPEC.homepage} (LAYER/NUMBER.png, in a folder "
            f"{FOLDER}). Name the folder that holds {FOLDER} with --data-dir or the environment variable DISBENCH_DATA."
        )
    return Sprites(named / FOLDER if (named / FOLDER).is_dir() else named)


DATASETS = {SPEC.name: DatasetEntry(SPEC.summary, _open)}
