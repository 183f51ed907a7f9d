"""What a training step is fed: pixels on the device and the step's random numbers, drawn ahead where that helps."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from disbench.images import serve
from disbench.types import Dataset, Pixels
from reference_models.distributed import own_rows

AHEAD = 3  # batches that wait for the device

Batch = tuple[Pixels, dict[str, Tensor], Tensor]


class Batches(Iterator[Batch]):
    """Pixels uint8 (n, h, w, c) of images drawn uniformly with replacement, the model's random numbers for them and
    what it knows of them, and the generator's state behind both.

    All processes draw the same batch, and each serves its own rows. Where images come from files and go to a GPU, a
    thread serves the next ones meanwhile; what it drew ahead is not in the state, so stopping loses nothing.
    """

    def __init__(
        self, dataset: Dataset, model: Any, batch_size: int, generator: Generator, device: torch.device
    ) -> None:
        self.dataset, self._model, self._size = dataset, model, batch_size
        self._generator, self._device = generator, device
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Draw ahead from now on, where that helps."""
        if self._device.type == "cuda" and self.dataset.spec.made_on == "cpu":
            self._thread = threading.Thread(target=self._serve_ahead, daemon=True)
            self._thread.start()

    def __next__(self) -> Batch:
        if self._thread is None:
            return self._draw()
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """Stop drawing ahead."""
        self._is_closed.set()
        while self._thread is not None and self._thread.is_alive():
            while not self._ready.empty():
                self._ready.get_nowait()
            self._thread.join(0.05)

    def _draw(self) -> Batch:
        index = torch.randint(len(self.dataset), (self._size,), generator=self._generator)
        drawn = self._model.draw(self._size, self._generator)
        pixels = serve(self.dataset, own_rows(index), self._device)
        rows = {name: own_rows(values).to(self._device, non_blocking=True) for name, values in drawn.items()}
        rows |= self._model.look_up(own_rows(index))
        return pixels, rows, self._generator.get_state()

    def _serve_ahead(self) -> None:
        try:
            while not self._is_closed.is_set():
                self._put(self._draw())
        except BaseException as error:  # for the loop, which runs in another thread
            self._put(error)

    def _put(self, found: Batch | BaseException) -> None:
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(found, timeout=0.1)
                return
