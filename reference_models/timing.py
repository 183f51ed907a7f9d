"""How long a training step takes on a device, before anything is trained: what `disbench reproduce` plans with."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

import torch
from torch import Tensor

from disbench import registry
from disbench.models import check_device
from disbench.types import DatasetSpec, Factor, FactorSpace, Indices
from reference_models.training import Loop, TrainConfig

N_STEPS = 5  # timed, at most
LONG = 10.0  # seconds, after which no further step is timed
SLOW = 5.0  # seconds of a first step on a CPU which does as well as any


def seconds_per_step(name: str, config: TrainConfig, image_shape: tuple[int, ...], device: str = "cpu") -> float:
    """Seconds of a step of the training loop, the median of a few after a first one.

    The model has its random weights, and images are blank and at hand: how long a data set takes to serve them is not
    in it. What is looked up in training, such as the latents of a data set that is encoded once, is looked up.

    Args:
        name: the model's name in the registry.
        config: the model's Config.
        image_shape: of the data set: (64, 64, channels).
        device: where torch computes.

    Raises:
        UsageError: there is no such device, or something that the model needs is not installed.
    """
    where = check_device(device)
    config = dataclasses.replace(config, n_channels=image_shape[-1], n_images=len(_Blank(image_shape)))
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        model: Any = registry.models()[name].build(config)
        model.pretend()
        model.to(where, memory_format=torch.channels_last)
        loop = Loop(_NoRun(), model, config, _Blank(image_shape), where, progress=False)  # type: ignore[arg-type]
        loop.step = config.steps - 1  # when all that begins later has begun
        model.train()
        with contextlib.closing(loop.batches):
            found = [_seconds(loop, where)]
            if where.type == "cpu" and not config.compile and found[0] > SLOW:
                return found[0]
            found.clear()
            while len(found) < N_STEPS and sum(found) < LONG:
                found.append(_seconds(loop, where))
    return sorted(found)[len(found) // 2]


def _seconds(loop: Loop, device: torch.device) -> float:
    started = time.perf_counter()
    pixels, drawn, _ = next(loop.batches)
    loop.take(pixels, drawn)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


class _NoRun:
    """In place of a run: nothing is kept."""

    train_seed = 0

    def state(self) -> None:
        return None


class _Blank:
    """In place of a data set: black images."""

    content_hash = "0" * 64

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        space = FactorSpace((Factor("none", 1_000),))
        self.spec = DatasetSpec("blank", "black images", space, tuple(image_shape), "none", "none", "none")

    def __len__(self) -> int:
        return self.spec.n_images

    def factors(self, index: Indices) -> Tensor:
        return self.spec.space.values(index)

    def images(self, index: Indices) -> Tensor:
        return torch.zeros(len(index), *self.spec.image_shape, dtype=torch.uint8)
