"""SIGINT and SIGTERM during training: work ends at the next moment at which nothing is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import distributed

from disbench.errors import Stopped
from reference_models.distributed import n_processes

AGREE_EVERY = 10  # steps after which several processes tell each other


class Stopping:
    """Collects the two signals while the block lasts, in the main thread; a second one ends the process at once.

    Args:
        go_on: what to type to go on, for the message.
    """

    def __init__(self, go_on: str) -> None:
        self._go_on = go_on
        self._caught: int | None = None
        self._said: str | None = None  # raised at once, if not None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            try:
                signal.signal(number, self._catch)
            except ValueError:  # not the main thread, which alone is told
                break
            self._before[number] = before
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wanted(self, step: int, device: torch.device) -> bool:
        """Whether to stop after this step: the answer is the same in all processes, whichever of them was told."""
        if n_processes() == 1:
            return self._caught is not None
        if step % AGREE_EVERY:
            return False
        told = torch.tensor(self._caught or 0, device=device)
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        if told:
            self._caught = int(told)
        return bool(told)

    def stop(self, where: str) -> None:
        """Raise what a signal was collected for; `where` begins the message."""
        raise Stopped(f"{where}; go on with: {self._go_on}", self._caught or signal.SIGTERM)

    @contextlib.contextmanager
    def at_once(self, where: str) -> Iterator[None]:
        """While nothing can be lost: a signal raises when it comes, and one that was collected before, now."""
        self._said = where
        try:
            if self._caught is not None:
                self.stop(where)
            yield
        finally:
            self._said = None

    def _catch(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, self._before[number])
        self._caught = number
        if self._said is not None:
            self.stop(self._said)
