"""A kind of model that is trained in milliseconds, and says what happened to it; importable by workers."""

import dataclasses
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disbench.checkpoint import Checkpoint, save
from disbench.errors import DisbenchError, Stopped
from disbench.grids import Study
from disbench.protocols import Protocol
from disbench.registry import ModelEntry
from tests.conftest import FACTORS_OF_TINY, TinyDataset


@dataclass(frozen=True)
class Config:
    steps: int = 10
    beta: float = 4.0
    fails_at: int = -1  # train seed
    raises_at: int = -1
    stops_at: int = -1
    dies_at: int = -1  # the first time; by its own hand
    waits_at: int = -1  # the first time; to be killed


class Linear(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.map = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.map(images.flatten(1))


def train(
    name: str,
    config: Config,
    dataset: Any,
    *,
    train_seed: int,
    out: Path,
    device: str = "cpu",
    command: str = "",
    progress: bool = True,
    resume: bool = False,
    score: str | None = "quick",
) -> Path:
    assert resume
    assert score is None  # the study scores, if anybody does
    assert not progress
    is_first = not (out / "state").exists()
    print("a line of the trainer's own")
    note(out, "began")
    (out / "state").touch()
    if train_seed == config.fails_at:
        raise DisbenchError("the loss is not finite.")
    if train_seed == config.raises_at:
        raise ValueError("a defect\nof two lines")
    if train_seed == config.stops_at:
        raise Stopped("stopped at step 3; go on with: disbench train", signal.SIGTERM)
    if train_seed == config.dies_at and is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    if train_seed == config.waits_at and is_first:
        (out.parent / "waits.part").write_text(str(os.getpid()))
        (out.parent / "waits.part").rename(out.parent / "waits")
        time.sleep(60)
    time.sleep(0.02)
    generator = torch.Generator().manual_seed(train_seed)
    weights = {"map.weight": torch.randn(4, 64, generator=generator), "map.bias": torch.zeros(4)}
    described = {"dataset": dataset.spec.name, "train_seed": train_seed, "threads": torch.get_num_threads()}
    save(Checkpoint(name, dataclasses.asdict(config), weights, described), out / "ckpt.pt")
    note(out, "trained")
    return out / "ckpt.pt"


def note(run: Path, event: str) -> None:
    with open(run.parent / f"{event}.txt", "a") as file:
        file.write(run.name + "\n")


def noted(runs: Path, event: str) -> list[str]:
    """The runs of which something was noted, sorted."""
    path = runs / f"{event}.txt"
    return sorted(path.read_text().splitlines()) if path.exists() else []


ENTRIES = {
    "linear": ModelEntry("linear", Config, Linear, train, {"brief": {"steps": 3}}, {"beta": (1, 2.5)}),
    "plain": ModelEntry("linear, nothing swept", Config, Linear, train),
    "fixed": ModelEntry("cannot be trained", Config, Linear),
}
STUDY = Study(("linear", "plain"), (0, 1, 2))
PROTOCOL = Protocol("tiny", 1, "one metric", {"mig": {"num_train": 100}})


def save_board(path: Path) -> str:
    """TinyDataset as a user's own file."""
    np.savez(path, images=TinyDataset().images(torch.arange(256)).numpy(), factors=FACTORS_OF_TINY.numpy())
    return str(path)
