"""Sheets of images with a label before each row, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator

from disbench.files import replacing
from disbench.types import Dataset, Pixels

_LABEL_WIDTH, _GAP, _FONT_SIZE = 150, 2, 13
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


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


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write the picture, whole or not at all."""
    with replacing(path) as file:
        image.save(file, format="PNG")
