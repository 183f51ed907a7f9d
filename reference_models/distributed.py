"""A batch that several processes share, each holding its rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed


def n_processes() -> int:
    """How many processes train together; 1 where torch.distributed is not running."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if n_processes() > 1 else 0


def gathered(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, in their order, differentiable; all processes have as many."""
    gathered: Tensor = _Gather.apply(rows) if n_processes() > 1 else rows
    return gathered


class _Gather(torch.autograd.Function):
    """The rows of all processes; what each of them makes of a row adds up in the row's gradient."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:  # noqa: ARG004
        parts = [torch.empty_like(rows) for _ in range(n_processes())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        (gradient,) = gradients
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return own_rows(gradient)


def own_rows(rows: Tensor) -> Tensor:
    """This process's part of rows that all processes have: the inverse of `gathered`."""
    return rows.tensor_split(n_processes())[rank()]


def averaged(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """0-d terms, each the mean over all processes."""
    if n_processes() == 1:
        return terms
    stacked = torch.stack(list(terms.values()))
    distributed.all_reduce(stacked)
    return dict(zip(terms, stacked / n_processes(), strict=True))


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """This process's device: the one asked for or, under torchrun, its own of the kind, joined with the others'."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or n_processes() > 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()
