"""How images are brought to another size: PIL's filters, each under a name that recipes and prepared files record.

Pixel values differ between the rules, and scores with them, so a data set under one name keeps to one rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from disbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

RULES = {
    "lanczos": "PIL LANCZOS with a reducing gap of 2, as Image.thumbnail does",
    "bilinear": "PIL BILINEAR (antialiased), as torchvision resizes PIL pictures",
    "bicubic": "PIL BICUBIC (antialiased, clipped to bytes)",
}
_REDUCING_GAP = {"lanczos": 2.0}  # thumbnail averages whole blocks first where it shrinks 4 times and more


def resize(images: np.ndarray, side: int, rule: str) -> np.ndarray:
    """Images brought to a square size.

    Args:
        images: uint8 (n, h, w, c), c = 1 or 3.
        side: height and width of the result.
        rule: a key of RULES.

    Returns:
        uint8 (n, side, side, c).

    Raises:
        UsageError: there is no such rule.
    """
    from PIL import Image

    n, _, _, n_channels = images.shape
    resized = np.empty((n, side, side, n_channels), np.uint8)
    for image, out in zip(images, resized, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if n_channels == 1 else image))
        out[:] = np.asarray(resize_picture(picture, (side, side), rule)).reshape(out.shape)
    return resized


def resize_picture(picture: Image.Image, size: tuple[int, int], rule: str) -> Image.Image:
    """A picture brought to a size (width, height), whatever its proportions.

    Raises:
        UsageError: there is no such rule.
    """
    from PIL.Image import Resampling

    if rule not in RULES:
        raise UsageError(f"there is no resize rule called {rule!r}; {did_you_mean(rule, RULES)}")
    return picture.resize(size, Resampling[rule.upper()], reducing_gap=_REDUCING_GAP.get(rule))
