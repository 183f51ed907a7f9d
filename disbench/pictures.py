"""Sheets of images with a label before each row, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from disbench.files import replacing
from disbench.images import to_images, to_pixels
from disbench.types import Codes, Dataset, Images, Indices, Pixels

_LABEL_WIDTH, _GAP, _FONT_SIZE = 150, 2, 13
_CURVE_SIDE = 64
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

    Factors with more than `n_columns` values are shown at evenly spaced ones, the first and the last among them. Where
    a grid hides something, a further row has the same factors throughout. Labelled data has samples only.
    """
    generator = Generator().manual_seed(seed)
    spec, space = dataset.spec, dataset.spec.space
    *samples, last = torch.randint(len(dataset), (2 * n_columns + 1,), generator=generator).split(
        [n_columns, n_columns, 1]
    )
    rows = [(label, _shown(dataset, index)) for label, index in zip(("samples", ""), samples, strict=True)]
    if spec.kind == "labelled":
        return sheet(rows)
    base = spec.values(last)
    for k, factor in enumerate(space.factors):
        n_shown = min(factor.size, n_columns)
        shown = torch.linspace(0, factor.size - 1, n_shown).round().long()
        values = base.repeat(n_shown, 1)
        values[:, k] = shown
        rows.append((f"{factor.name} ({factor.size})", _shown(dataset, space.index(values))))
    if spec.n_hidden > 1:
        same = space.index(base).expand(min(n_columns, spec.n_hidden))
        rows.append(("hidden", _shown(dataset, same + len(space) * torch.arange(len(same)))))
    return sheet(rows)


def _shown(dataset: Dataset, index: Indices) -> Pixels:
    """Images (n,) as pictures; signals as curves, each between its least and its largest value."""
    observations = dataset.images(index)
    if observations.dtype == torch.uint8:
        return observations
    if observations.ndim == 4:
        return (observations.clamp(0, 1) * 255).round().to(torch.uint8)
    return torch.stack([_curve(signal[:, 0]) for signal in observations])


def _curve(signal: Tensor) -> Pixels:
    """A signal (length,) as a curve on white, uint8 (64, 64, 1); each column covers all that falls into it."""
    low, high = signal.min(), signal.max()
    level = ((high - signal) / (high - low).clamp_min(1e-12) * (_CURVE_SIDE - 1)).round()
    picture = torch.full((_CURVE_SIDE, _CURVE_SIDE, 1), 255, dtype=torch.uint8)
    before = level[:1]
    for column, levels in enumerate(level.tensor_split(_CURVE_SIDE)):
        joined = torch.cat([before, levels])  # no gap to the column before
        picture[int(joined.min()) : int(joined.max()) + 1, column] = 30
        before = joined[-1:]
    return picture


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
        rebuilt = to_pixels(model.decode(codes[:n_columns]))
        rows = [("images", pixels[:n_columns]), ("reconstructions", rebuilt)]
        spread = codes.std(0)
        for code in spread.argsort(descending=True).tolist():
            moved = codes[n_columns - 1].repeat(n_columns, 1)
            moved[:, code] = torch.linspace(-2, 2, n_columns)
            rows.append((f"code {code} (std {spread[code]:.2f})", to_pixels(model.decode(moved))))
    return sheet(rows)


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write the picture, whole or not at all."""
    with replacing(path) as file:
        image.save(file, format="PNG")
