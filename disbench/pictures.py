"""Sheets of images with a label before each row, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator

from disbench.encode import to_images
from disbench.files import replacing
from disbench.types import Codes, Dataset, Images, Pixels

_LABEL_WIDTH, _GAP, _FONT_SIZE = 150, 2, 13
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


class Autoencoder(Protocol):
    """A representation that can go back."""

    def __call__(self, images: Images) -> Codes:
        """Codes (n, d) of images (n, c, h, w)."""

    def decode(self, codes: Codes) -> Images:
        """Images in [0, 1] of codes."""


def sheet(rows: Sequence[tuple[str, Pixels]]) -> Image.Image:
    """Rows of (label, pixels uint8 (n, h, w, c)); n may differ from row to row, h and w may not."""
    height, width = rows[0][1].shape[1:3]
    n_columns = max(len(pixels) for _, pixels in rows)
    size = (_LABEL_WIDTH + n_columns * (width + _GAP), len(rows) * (height + _GAP))
    page = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(_FONT_SIZE)
    for r, (label, pixels) in enumerate(rows):
        top = r * (height + _GAP)
        pen.text((6, top + height // 2), label, fill=_INK, font=font, anchor="lm")
        for column, image in enumerate(pixels):
            rgb = image.expand(-1, -1, 3).contiguous().numpy()
            page.paste(Image.fromarray(rgb), (_LABEL_WIDTH + column * (width + _GAP), top))
    return page


def samples_and_traversals(dataset: Dataset, *, seed: int = 0, n_columns: int = 15) -> Image.Image:
    """Two rows of random images, then for every factor one row in which it alone changes.

    Factors with more than `n_columns` values are shown at evenly spaced ones, the first and the last among them.
    """
    generator = Generator().manual_seed(seed)
    space = dataset.spec.space
    *samples, last = torch.randint(len(dataset), (2 * n_columns + 1,), generator=generator).split(
        [n_columns, n_columns, 1]
    )
    rows = [(label, dataset.images(index)) for label, index in zip(("samples", ""), samples, strict=True)]
    base = space.values(last)
    for k, factor in enumerate(space.factors):
        n_shown = min(factor.size, n_columns)
        shown = torch.linspace(0, factor.size - 1, n_shown).round().long()
        values = base.repeat(n_shown, 1)
        values[:, k] = shown
        rows.append((f"{factor.name} ({factor.size})", dataset.images(space.index(values))))
    return sheet(rows)


def reconstructions_and_traversals(
    model: Autoencoder, dataset: Dataset, *, seed: int = 0, n_columns: int = 12
) -> Image.Image:
    """Random images above their reconstructions, then one row per code in which it alone runs from -2 to 2.

    Codes come in the order of their spread over the random images, the widest first; the others stay at those of the
    last image shown.
    """
    index = torch.randint(len(dataset), (256,), generator=Generator().manual_seed(seed))
    pixels = dataset.images(index)
    with torch.no_grad():
        codes = model(to_images(pixels))
        rebuilt = _to_pixels(model.decode(codes[:n_columns]))
        rows = [("images", pixels[:n_columns]), ("reconstructions", rebuilt)]
        spread = codes.std(0)
        for code in spread.argsort(descending=True).tolist():
            moved = codes[n_columns - 1].repeat(n_columns, 1)
            moved[:, code] = torch.linspace(-2, 2, n_columns)
            rows.append((f"code {code} (std {spread[code]:.2f})", _to_pixels(model.decode(moved))))
    return sheet(rows)


def _to_pixels(images: Images) -> Pixels:
    """Images float32 (n, c, h, w) -> Pixels uint8 (n, h, w, c)."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write the picture, whole or not at all."""
    with replacing(path) as file:
        image.save(file, format="PNG")
