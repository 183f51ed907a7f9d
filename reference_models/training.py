"""The one training loop. A run folder holds config.json, stats.jsonl (readable while it runs), ckpt.pt and, at the end,
reconstructions.png."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

import disbench
from disbench import checkpoint, registry
from disbench.errors import DisbenchError, UsageError
from disbench.files import replacing
from disbench.images import serve, to_images
from disbench.models import check_device
from disbench.pictures import reconstructions_and_traversals, save_png
from disbench.settings import check_numbers
from disbench.types import Dataset

STATS_EVERY = 100  # steps


@dataclass(frozen=True)
class TrainConfig:
    """What every reference model can be told; the defaults are the 2019 study's."""

    steps: int = 300_000  # optimiser steps
    batch_size: int = 64  # images a step
    learning_rate: float = 1e-4  # of Adam, constant
    n_channels: int = 3  # of the images; the data set decides
    n_codes: int = 10  # dimensions of the code

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.learning_rate:
            raise UsageError("learning_rate must be above 0.")


def train(
    name: str,
    config: TrainConfig,
    dataset: Dataset,
    *,
    train_seed: int,
    out: Path,
    device: str = "cpu",
    command: str = "",
    progress: bool = True,
) -> Path:
    """Train a model on uniform draws (with replacement) from a data set, and write its checkpoint.

    Args:
        name: the model's name in the registry.
        config: the model's Config.
        dataset: serves the images.
        train_seed: of initialisation, draws and noise.
        out: the run folder; made if it is not there. A folder that holds a run already is refused.
        device: where torch computes.
        command: recorded in the checkpoint.
        progress: show a bar on stderr.

    Returns:
        The path of ckpt.pt.
    """
    if not 0 <= train_seed < 2**63:
        raise UsageError(f"train_seed must lie in 0 ... 2^63 - 1; got {train_seed}.")
    where = check_device(device)
    model, config = _build(name, config, dataset, train_seed)
    model.to(where)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    generator = Generator().manual_seed(train_seed)
    path = out / "ckpt.pt"
    if path.exists():
        raise DisbenchError(f"{out} holds a finished run already; name another folder with --out.")
    resolved = {"model": name, "dataset": dataset.spec.name, "train_seed": train_seed, **dataclasses.asdict(config)}
    with replacing(out / "config.json") as file:
        file.write((json.dumps(resolved, indent=1) + "\n").encode())

    started = time.perf_counter()
    bar = tqdm(range(config.steps), desc=f"train {name}", unit="step", disable=not progress)
    with open(out / "stats.jsonl", "w") as stats:
        for step in bar:
            images = draw_batch(dataset, config.batch_size, generator, where)
            noise = torch.randn(config.batch_size, config.n_codes, generator=generator).to(where)
            terms = model.loss(to_images(images), noise)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            optimiser.step()
            if (step + 1) % STATS_EVERY == 0 or step + 1 == config.steps:
                _note(terms, step + 1, config, started, stats, bar)

    trained = {
        "dataset": dataset.spec.name,
        "dataset_hash": dataset.content_hash,
        "train_seed": train_seed,
        "steps": config.steps,
        "command": command,
        "versions": {"disbench": disbench.__version__, "torch": torch.__version__},
    }
    # Half precision: as small as a shipped file should be, and what is scored is what is kept.
    weights = {key: value.detach().cpu().half() for key, value in model.state_dict().items()}
    checkpoint.save(checkpoint.Checkpoint(name, dataclasses.asdict(config), weights, trained), path)
    save_png(reconstructions_and_traversals(model.cpu().eval(), dataset), out / "reconstructions.png")
    return path


def _build(name: str, config: TrainConfig, dataset: Dataset, train_seed: int) -> tuple[Any, TrainConfig]:
    """The untrained model, and its config with the number of channels that the data set has."""
    *size, n_channels = dataset.spec.image_shape
    if size != [64, 64]:
        shown = " x ".join(map(str, size))
        raise DisbenchError(f"{name} takes images of 64 x 64 pixels; those of {dataset.spec.name} are {shown}.")
    if config.n_channels not in (TrainConfig.n_channels, n_channels):
        raise UsageError(f"n_channels is {config.n_channels}, and images of {dataset.spec.name} have {n_channels}.")
    config = dataclasses.replace(config, n_channels=n_channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(train_seed)
        return registry.models()[name].build(config), config


def draw_batch(dataset: Dataset, n: int, generator: Generator, device: torch.device) -> Tensor:
    """Pixels of n images drawn uniformly with replacement, on a device."""
    return serve(dataset, torch.randint(len(dataset), (n,), generator=generator), device)


def _note(terms: dict[str, Tensor], step: int, config: TrainConfig, started: float, stats: Any, bar: Any) -> None:
    values = {key: round(value.item(), 4) for key, value in terms.items()}
    if not torch.isfinite(terms["loss"]):
        raise DisbenchError(f"the loss is not finite at step {step} ({values}); lower learning_rate.")
    rate = step * config.batch_size / (time.perf_counter() - started)
    stats.write(json.dumps({"step": step, **values, "images_per_second": round(rate)}) + "\n")
    stats.flush()
    bar.set_postfix(values)
