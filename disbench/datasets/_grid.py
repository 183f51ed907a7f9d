"""What every grid shares whose images are made on the fly, on the device of the index that asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from disbench.registry import Check
from disbench.types import Dataset, DatasetSpec, Factors, Indices, Pixels

N_HASHED = 1000


class Grid:
    """A data set in which image i has the factors of index i; a subclass brings `spec` and `images`."""

    spec: DatasetSpec

    def __len__(self) -> int:
        return self.spec.n_images

    def factors(self, index: Indices) -> Factors:
        """Factor values (n, k) of images (n,)."""
        return self.spec.values(index)

    def images(self, index: Indices) -> Pixels:
        """Pixels uint8 (n, h, w, c) of images (n,)."""
        raise NotImplementedError

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes and the pixels of 1,000 images spread evenly over the index."""
        space = self.spec.space
        n_images = len(self)
        index = torch.linspace(0, n_images - 1, min(N_HASHED, n_images), dtype=torch.float64).round().long()
        digest = hashlib.sha256(repr(list(zip(space.names, space.sizes, strict=True))).encode())
        digest.update(self.images(index).contiguous().numpy().data)
        return digest.hexdigest()


class OnDevice:
    """A table that is made once on the CPU, and copied to each device that asks for it."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self._copies: dict[torch.device, Tensor] = {}

    def __call__(self, device: torch.device) -> Tensor:
        """The table on a device."""
        if device not in self._copies:
            home = torch.device("cpu")
            if home not in self._copies:
                self._copies[home] = self._make()
            self._copies[device] = self._copies[home].to(device)
        return self._copies[device]


def same_pixels(expected: str) -> Callable[[Dataset], Iterable[Check]]:
    """The check that a generated data set is, byte for byte, the one that its authors generated."""
    return lambda dataset: [
        Check(
            f"pixels of {N_HASHED:,} images",
            f"sha256 {expected[:16]}",
            f"sha256 {dataset.content_hash[:16]}",
            dataset.content_hash == expected,
        )
    ]
