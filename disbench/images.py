"""What a data set serves, checked and made into what a representation receives."""

from __future__ import annotations

import torch
from torch import Tensor

from disbench.errors import DisbenchError
from disbench.types import Dataset, DatasetSpec, Images, Indices, Pixels


def serve(dataset: Dataset, index: Indices, device: torch.device) -> Pixels:
    """What a data set has for an index (n,), on a device; made there, if the data set can.

    Raises:
        DisbenchError: it is not of the shape and type that the data set's specification names.
    """
    pixels = dataset.images(index.to(device) if dataset.spec.made_on == "any" else index)
    check_pixels(pixels, index, dataset.spec)
    return pixels.to(device)


def check_pixels(pixels: object, index: Indices, spec: DatasetSpec) -> None:
    """Check what a data set served for an index (n,).

    Raises:
        DisbenchError: it is not a tensor of the shape and type that its specification names.
    """
    expected = (len(index), *spec.image_shape)
    if not isinstance(pixels, Tensor):
        found = type(pixels).__module__ + "." + type(pixels).__name__
    elif pixels.dtype != getattr(torch, spec.dtype) or pixels.shape != expected:
        found = f"a tensor {tuple(pixels.shape)} of {pixels.dtype}"
    else:
        return
    raise DisbenchError(
        f"the data set {spec.name} served {found} for {len(index)} images; expected a torch tensor {expected} of "
        f"{spec.dtype}."
    )


def to_images(pixels: Pixels, input_range: tuple[float, float] = (0.0, 1.0)) -> Images:
    """Pixels uint8 (n, h, w, c) -> Images float32 (n, c, h, w), contiguous, in [0, 1] or another range.

    Signals float32 (n, length, c) -> float32 (n, c, length), as they are: the range is of pictures only.
    """
    images = pixels.movedim(-1, 1).contiguous()
    if images.dtype == torch.uint8:
        images = images.float().div_(255)
    low, high = input_range
    return images if (low, high) == (0.0, 1.0) or images.ndim == 3 else images.mul(high - low).add_(low)


def to_pixels(images: Images) -> Pixels:
    """Images float32 (n, c, h, w) in [0, 1] -> Pixels uint8 (n, h, w, c), rounded."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1)
