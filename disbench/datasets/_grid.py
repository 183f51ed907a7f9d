"""What every grid shares whose images are made on the fly."""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch

from disbench.types import DatasetSpec, Factors, Indices, Pixels

N_HASHED = 1000


class Grid:
    """A data set in which image i has the factors of index i; a subclass brings `spec` and `images`."""

    spec: DatasetSpec

    def __len__(self) -> int:
        return len(self.spec.space)

    def factors(self, index: Indices) -> Factors:
        """Factor values (n, k) of images (n,)."""
        return self.spec.space.values(index)

    def images(self, index: Indices) -> Pixels:
        """Pixels uint8 (n, h, w, c) of images (n,)."""
        raise NotImplementedError

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes and the pixels of 1,000 images spread evenly over the index."""
        space = self.spec.space
        index = torch.linspace(0, len(space) - 1, min(N_HASHED, len(space)), dtype=torch.float64).round().long()
        digest = hashlib.sha256(repr(list(zip(space.names, space.sizes, strict=True))).encode())
        digest.update(self.images(index).contiguous().numpy().data)
        return digest.hexdigest()
