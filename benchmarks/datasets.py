"""Images per second of the generated data sets, beside a prepared file of the same images.

    python -m benchmarks.datasets

One thread, random batches of 256. The prepared file is a memory-mapped uint8 .npy of 20,000 of the images, which fits
into the page cache: the best that a file of the whole set could do.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import replace_table
from disbench.registry import load_dataset

N_IMAGES, BATCH = 20_000, 256
HEADERS = ("data set", "generated, images/s", "from a memory-mapped file, images/s", "ratio", "whole set as a file, GB")


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for name in ("rooms3d", "dsprites_regen"):
        dataset = load_dataset(name)
        index = torch.randint(len(dataset), (N_IMAGES,), generator=torch.Generator().manual_seed(0))
        dataset.images(index[:BATCH])  # tables are made on first use
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npy"
            np.save(path, torch.cat([dataset.images(batch) for batch in index.split(BATCH)]).numpy())
            stored = np.load(path, mmap_mode="r")
            generated = rate(dataset.images, index)
            positions = torch.randperm(N_IMAGES)
            mapped = rate(lambda batch, stored=stored: torch.from_numpy(stored[batch.numpy()]), positions)
        size = len(dataset) * np.prod(dataset.spec.image_shape) / 1e9
        rows.append((f"`{name}`", f"{generated:,.0f}", f"{mapped:,.0f}", f"{generated / mapped:.2f}", f"{size:.1f}"))
    table = tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True)
    print(table)
    replace_table(Path(__file__).parent / "README.md", "data sets", table)


def rate(images: Callable[[torch.Tensor], torch.Tensor], index: torch.Tensor) -> float:
    """Images per second, the best of three rounds."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        for batch in index.split(BATCH):
            images(batch)
        seconds.append(time.perf_counter() - started)
    return len(index) / min(seconds)


if __name__ == "__main__":
    main()
