"""Sheets of images with a label before each row, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from disbench.files import replacing
from disbench.types import Dataset, Indices, Pixels

_LABEL_WIDTH, _GAP, _FONT_SIZE, _CAPTION_SIZE = 150, 2, 13, 11
_CURVE_SIDE = 64
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def sheet(
    rows: Sequence[tuple[str, Pixels]], *, columns: Sequence[str] = (), label_width: int = _LABEL_WIDTH
) -> Image.Image:
    """Rows of (label, pixels uint8 (n, h, w, c)); n may differ from row to row, h and w may not.

    Labels may have several lines. `columns` are captions above the columns, `label_width` is in pixels.
    """
    height, width = rows[0][1].shape[1:3]
    n_columns = max(len(pixels) for _, pixels in rows)
    header = max((_height(caption) for caption in columns), default=0)
    pitch = max(height, *(_height(label) for label, _ in rows if "\n" in label), 0) + _GAP
    page = Image.new("RGB", (label_width + n_columns * (width + _GAP), header + len(rows) * pitch), _PAPER)
    pen = ImageDraw.Draw(page)
    font, small = ImageFont.load_default(_FONT_SIZE), ImageFont.load_default(_CAPTION_SIZE)
    for column, caption in enumerate(columns):
        middle = label_width + column * (width + _GAP) + width // 2
        pen.text((middle, header // 2), caption, fill=_INK, font=small, anchor="mm", align="center")
    for r, (label, pixels) in enumerate(rows):
        top = header + r * pitch
        pen.text((6, top + height // 2), label, fill=_INK, font=font, anchor="lm")
        for column, image in enumerate(pixels):
            rgb = image.expand(-1, -1, 3).contiguous().numpy()
            page.paste(Image.fromarray(rgb), (label_width + column * (width + _GAP), top))
    return page


def heated(image: Pixels, heat: Tensor) -> Pixels:
    """Maps (n, h', w') of heat in [0, 1], black through red to white, each over the image (h, w, c) in grey."""
    size = (image.shape[0], image.shape[1])
    smooth = F.interpolate(heat[:, None].float(), size, mode="bilinear")[:, 0]
    places = torch.tensor([[0, 0, 0], [160, 0, 40], [255, 140, 0], [255, 255, 220]]).float()
    at = smooth.clamp(0, 1) * (len(places) - 1)
    below = at.long().clamp(max=len(places) - 2)
    colours = torch.lerp(places[below], places[below + 1], (at - below)[..., None])
    grey = image.float().mean(2, keepdim=True)
    return (0.3 * grey + 0.7 * colours).round().to(torch.uint8)


def _height(text: str) -> int:
    """Of a text, in pixels; 0 of none."""
    return 17 * len(text.splitlines())


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


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write the picture, whole or not at all."""
    with replacing(path) as file:
        image.save(file, format="PNG")
