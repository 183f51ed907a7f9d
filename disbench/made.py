"""Images that a model makes: reconstructions, from the codes of images, and samples of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator
from tqdm import tqdm

from disbench.encode import BATCH_SIZE
from disbench.errors import DisbenchError, first_line
from disbench.images import serve, to_images
from disbench.models import Model, as_tensor
from disbench.types import Dataset, Images, Indices, Pixels

_SLACK = 0.05  # of the range: how far a decoder may go beyond black and full brightness
_MAX_BEYOND = 0.01  # share of a batch's values that may go further
_FEW = 16  # images that may all be bright in all places


@dataclass(frozen=True)
class Maker:
    """A model on a device that makes images like those of a data set.

    What a model draws from torch's default generators is seeded, for the time of the call.

    Args:
        model: with `decode`, `generate` or both.
        dataset: serves pixels by index, and says what an image looks like.
        device: where images go.
        batch_size: images a call; None for a size that suits the device.
        input_range: what the model takes black and full brightness to be, and makes them.
        progress: show a bar on stderr.
    """

    model: Model
    dataset: Dataset
    device: torch.device
    batch_size: int | None = None
    input_range: tuple[float, float] = (0.0, 1.0)
    progress: bool = False

    def reconstructions(self, index: Indices, generator: Generator) -> Iterator[tuple[Pixels, Images]]:
        """Pixels uint8 (m, h, w, c) of images (n,), batch by batch, and what `decode` makes of their codes.

        Raises:
            DisbenchError: the model raised, or made something other than images of that shape.
        """
        decode = self.model.decode
        assert decode is not None  # asked for only where it is there
        with self._running("reconstruct", len(index), generator) as bar:
            for batch in index.split(self._size):
                pixels = serve(self.dataset, batch, self.device)
                images = to_images(pixels, self.input_range)
                with _named("the model"):
                    codes = self.model(images)
                with _named("decode"):
                    made = decode(codes)
                yield pixels, self._checked("decode", made, len(batch))
                bar.update(len(batch))

    def samples(self, n: int, generator: Generator) -> Iterator[Images]:
        """n images that `generate` makes, batch by batch.

        Raises:
            DisbenchError: as above.
        """
        generate = self.model.generate
        assert generate is not None  # asked for only where it is there
        theirs: Any = generator
        if self.model.array == "numpy":
            theirs = np.random.default_rng(generator.initial_seed())
        with self._running("generate", n, generator) as bar:
            for start in range(0, n, self._size):
                size = min(self._size, n - start)
                with _named("generate"):
                    made = generate(size, theirs)
                yield self._checked("generate", made, size)
                bar.update(size)

    @property
    def _size(self) -> int:
        return self.batch_size or BATCH_SIZE["cpu"]  # on a GPU, too: a decoder takes more memory than an encoder

    @contextlib.contextmanager
    def _running(self, what: str, n: int, generator: Generator) -> Iterator[tqdm]:
        seed = int(torch.randint(2**31, (), generator=generator))
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            self.model.ready(self.device),
            torch.random.fork_rng(devices),
            tqdm(total=n, desc=what, unit="image", disable=not self.progress) as bar,
        ):
            torch.default_generator.manual_seed(seed)
            for device in devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield bar

    def _checked(self, what: str, made: Any, n: int) -> Images:
        """Images float32 (n, c, h, w) in [0, 1], on the device, from what the model returned."""
        if isinstance(made, tuple | list | dict) or made is None:
            raise DisbenchError(f"{what} returned a {type(made).__name__}; expected one array of images (n, c, h, w).")
        images = as_tensor(made)
        height, width, channels = self.dataset.spec.image_shape
        if images.shape != (n, channels, height, width):
            raise DisbenchError(
                f"{what} returned shape {tuple(images.shape)} for {n} images; expected {(n, channels, height, width)}."
            )
        if not images.is_floating_point():
            raise DisbenchError(f"{what} returned {images.dtype}; expected floats between {self._range}.")
        low, high = self.input_range
        if low < 0 <= float(images.min()) and n > _FEW:
            raise DisbenchError(
                f"{what} returned nothing below 0 for {n} images; expected {self._range}, the range that the model "
                "takes images in. Does it return 0 ... 1?"
            )
        images = (images.to(self.device, torch.float32) - low) / (high - low)
        if not bool(torch.isfinite(images).all()):
            raise DisbenchError(f"{what} returned values that are not finite; expected {self._range}.")
        beyond = ((images < -_SLACK) | (images > 1 + _SLACK)).float().mean()
        if float(beyond) > _MAX_BEYOND:
            found = f"{float(images.min()) * (high - low) + low:.3g} ... {float(images.max()) * (high - low) + low:.3g}"
            raise DisbenchError(
                f"{what} returned values in {found}; expected {self._range}, the range that the model takes images "
                "in. Name that range (input_range, --input-range), or scale what it returns."
            )
        return images.clamp(0, 1)

    @property
    def _range(self) -> str:
        return "{:g} ... {:g}".format(*self.input_range)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn what a model raises into one sentence."""
    try:
        yield
    except (DisbenchError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise DisbenchError(f"{what} raised {type(error).__name__}: {first_line(error)}") from error
