"""What the training loop costs: its share of waiting for data, and images a second beside a plain PyTorch loop.

    python -m benchmarks.training [--steps 100] [--batch-size 64] [--device cpu] [--threads 2] [--write]

beta-VAE with the study's network. The plain loop trains the same network on one batch that lies on the device, so it
never waits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import ROOT, replace_table
from disbench.datasets import from_arrays
from disbench.images import to_images
from disbench.registry import load_dataset
from disbench.types import Dataset
from reference_models.training import build, train
from reference_models.vae import Config

N_PREPARED = 100_000  # images of the file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = Config(steps=options.steps, batch_size=options.batch_size, learning_rate=1e-3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            "rooms3d (rendered)": load_dataset("rooms3d"),
            "dsprites_regen (generated)": load_dataset("dsprites_regen"),
            f"{N_PREPARED:,} images in a memory-mapped file": prepared(Path(folder)),
        }
        for k, (name, dataset) in enumerate(sets.items()):
            rate, waiting = ours(dataset, config, options.device, Path(folder) / str(k))
            bare = plain(dataset, config, options.device)
            rows.append((name, f"{rate:,.0f}", f"{100 * waiting:.1f} %", f"{bare:,.0f}", f"{rate / bare:.2f}"))
    headers = ("images from", "disbench, images/s", "waiting for data", "plain loop, images/s", "disbench / plain")
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    print(table)
    if options.write:
        replace_table(ROOT / "benchmarks" / "README.md", "training", table)


def prepared(folder: Path) -> Dataset:
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (N_PREPARED, 64, 64, 3))
    rng = np.random.default_rng(0)
    for start in range(0, N_PREPARED, 10_000):
        images[start : start + 10_000] = rng.integers(0, 256, (10_000, 64, 64, 3), dtype=np.uint8)
    return from_arrays(images, np.arange(N_PREPARED) % 7)


def ours(dataset: Dataset, config: Config, device: str, out: Path) -> tuple[float, float]:
    """Images a second, and the share of time spent waiting for data."""
    train("beta_vae", config, dataset, train_seed=0, out=out, device=device, progress=False, score=None)
    last = json.loads((out / "stats.jsonl").read_text().splitlines()[-1])
    return last["images_per_second"], last["waiting"]


def plain(dataset: Dataset, config: Config, device: str) -> float:
    """Images a second of a loop of the same network, as one would write it."""
    model, _ = build("beta_vae", dataclasses.replace(config), dataset, 0)
    model.to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    images = to_images(dataset.images(torch.arange(config.batch_size))).to(device)
    started = 0.0
    for step in range(config.steps + 5):
        if step == 5:  # warm
            synchronise(device)
            started = time.perf_counter()
        noise = torch.randn(len(images), config.n_codes, device=device)
        loss = model.losses(images, {"noise": noise}, step)["loss"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    synchronise(device)
    return config.steps * len(images) / (time.perf_counter() - started)


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
