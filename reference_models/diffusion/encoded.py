"""The latents of a whole data set, encoded once and kept in the cache folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from disbench.cache import cache_dir
from disbench.errors import UsageError, first_line
from disbench.files import exclusively, replacing
from disbench.images import serve, to_images
from disbench.types import Dataset

N_AT_ONCE = 256  # images encoded together

Encode = Callable[[Tensor], Tensor]  # images (n, c, h, w) in [0, 1] -> latents (n, ...)


def latents_of(
    dataset: Dataset, encode: Encode, shape: tuple[int, ...], stage_hash: str, device: torch.device
) -> Tensor | None:
    """Latents of all images, float16 (n, *shape): on a GPU if they fit there twice, else mapped from their file.

    A file that is cut off is made again. Where the cache folder cannot be written, this is said, and nothing returned.

    Args:
        dataset: whose images are encoded, in index order.
        encode: the first stage.
        shape: of an image's latents.
        stage_hash: of the first stage's content; with the data set's it names the file.
        device: where the first stage is.
    """
    path = cache_dir() / "latents" / f"{stage_hash}-{dataset.content_hash[:16]}.npy"
    expected = (len(dataset), *shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "ab") as lock, exclusively(lock, "another process encodes the data set."):
            table = _read(path, expected)
            if table is None:
                for part in path.parent.glob(f"{path.name}.*.part"):  # of processes that were killed
                    part.unlink()
                _write(path, dataset, encode, expected, device)
                table = _read(path, expected)
    except (OSError, UsageError) as error:
        print(f"disbench: every batch is encoded anew, as latents cannot be kept: {first_line(error)}", file=sys.stderr)
        return None
    if table is not None and device.type == "cuda" and 2 * table.nbytes < torch.cuda.mem_get_info(device)[0]:
        return table.to(device)
    return table


def _read(path: Path, expected: tuple[int, ...]) -> Tensor | None:
    """The file, mapped into memory; None if it is not there, or not whole."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(array) if array.shape == expected and array.dtype == np.float16 else None


def _write(path: Path, dataset: Dataset, encode: Encode, expected: tuple[int, ...], device: torch.device) -> None:
    with replacing(path) as file, tqdm(total=len(dataset), desc="encode the data set once", unit="image") as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": expected})
        for index in torch.arange(len(dataset)).split(N_AT_ONCE):
            with torch.no_grad():
                latents = encode(to_images(serve(dataset, index, device)))
            file.write(latents.half().cpu().contiguous().numpy().tobytes())
            bar.update(len(index))
