"""Preparing and reading data sets that come as files: peak memory, seconds, and images per second.

    python -m benchmarks.prepared [--folder DIR]

Synthetic files with the layouts of the published ones and 2.2 GB of pixels (180,000 images of `rooms3d`): Shapes3D's
HDF5 file, in the gzip chunks that h5py chooses for the whole set's shape, and MPI3D's npz, stored and deflated. Each
row runs in a process of its own, with one thread; peak memory is the largest resident set, of which about 0.3 GB is
Python with torch. Takes about 8 GB of disk and some minutes.
"""

import argparse
import dataclasses
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.tables import replace_table
from disbench.datasets._prepared import open_prepared
from disbench.datasets._preparing import prepare as prepare_set
from disbench.datasets._recipe import Recipe
from disbench.types import DatasetSpec, Factor, FactorSpace

SIZES = (10, 10, 10, 3, 4, 15)
N_IMAGES = 180_000
SHAPE = (64, 64, 3)
CHUNKS = (15_000, 4, 4, 1)  # h5py's choice for (480000, 64, 64, 3)
BATCH, N_BATCHES = 256, 400
SLAB = 15_000


def spec_like(spec: DatasetSpec) -> DatasetSpec:
    names = spec.space.names[-len(SIZES) :]
    return dataclasses.replace(spec, space=FactorSpace(tuple(map(Factor, names, SIZES))))


def slabs() -> Iterator[np.ndarray]:
    """Images of rooms3d, in any order: they shall compress as real ones do."""
    from disbench.registry import load_dataset

    rooms = load_dataset("rooms3d")
    order = torch.randperm(len(rooms), generator=torch.Generator().manual_seed(0))[:N_IMAGES]
    for index in order.split(SLAB):
        yield torch.cat([rooms.images(batch) for batch in index.sort().values.split(1000)]).numpy()


def write_hdf5(path: Path) -> None:
    import h5py

    from disbench.datasets.shapes3d import SPEC, values_of_factors

    grids = np.meshgrid(*values_of_factors(spec_like(SPEC)), indexing="ij")
    with h5py.File(path, "w") as file:
        file["labels"] = np.stack([grid.reshape(-1) for grid in grids], axis=1)
        images = file.create_dataset("images", (N_IMAGES, *SHAPE), np.uint8, chunks=CHUNKS, compression="gzip")
        for i, slab in enumerate(slabs()):
            images[i * SLAB : i * SLAB + len(slab)] = slab


def write_npz(path: Path, compression: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (N_IMAGES, *SHAPE)}
    with (
        zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for slab in slabs():
            file.write(slab.data)


def recipe(kind: str) -> Recipe:
    from disbench.datasets import mpi3d, shapes3d

    base = shapes3d.RECIPE if kind == "shapes3d" else mpi3d.DATASETS["mpi3d_toy"].recipe
    sources = tuple(
        dataclasses.replace(
            source, files=tuple(dataclasses.replace(f, size=None, sha256=None, md5=None) for f in source.files)
        )
        for source in base.sources
    )
    return dataclasses.replace(base, spec=spec_like(base.spec), sources=sources, mean=(), std=())


def prepare(kind: str, path: Path) -> str:
    prepare_set(recipe(kind), source=path, progress=False)
    return ""


def load_npz(path: Path) -> str:
    with np.load(path) as file:
        file["images"]
    return ""


def batches(*, in_order: bool = False) -> list[torch.Tensor]:
    """All images in order, or as many at random as are enough."""
    if in_order:
        return list(torch.arange(N_IMAGES).split(BATCH))
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(N_IMAGES, (BATCH,), generator=generator) for _ in range(N_BATCHES)]


def read_prepared(kind: str, in_order: bool) -> str:
    return rate(open_prepared(recipe(kind)).images, batches(in_order=in_order))


def read_numpy(kind: str, in_order: bool) -> str:
    array = np.load(recipe(kind).folder / "images.npy", mmap_mode="r")
    return rate(lambda index: array[index.numpy()], batches(in_order=in_order))


def rate(images: Callable[[torch.Tensor], object], drawn: list[torch.Tensor]) -> str:
    """Images per second, from a fresh mapping of a file that the system has cached."""
    started = time.perf_counter()
    for index in drawn:
        images(index)
    return f"{sum(map(len, drawn)) / (time.perf_counter() - started):.0f}"


def read_hdf5(path: Path) -> str:
    """Two batches: each takes seconds."""
    import h5py

    with h5py.File(path) as file:
        started = time.perf_counter()
        for index in batches()[:2]:
            file["images"][index.unique().numpy()]
        return f"{BATCH * 2 / (time.perf_counter() - started):.2f}"


def alone(function: Callable[..., str], *arguments: object) -> tuple[float, float, str]:
    """Seconds, peak memory in GB and the result of a call in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, *arguments))


def _measured(function: Callable[..., str], *arguments: object) -> tuple[float, float, str]:
    torch.set_num_threads(1)
    started = time.perf_counter()
    result = function(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    return time.perf_counter() - started, peak, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="for the files (default: the system's for temporary files)")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    hdf5, stored, deflated = folder / "3dshapes.h5", folder / "stored.npz", folder / "deflated.npz"
    alone(write_hdf5, hdf5)
    alone(write_npz, stored, zipfile.ZIP_STORED)
    alone(write_npz, deflated, zipfile.ZIP_DEFLATED)
    os.environ["DISBENCH_CACHE"] = str(folder / "cache")
    work = [
        ("prepare Shapes3D's layout (HDF5, gzip)", hdf5, prepare, "shapes3d", hdf5),
        ("prepare MPI3D's layout (npz, stored)", stored, prepare, "mpi3d_toy", stored),
        ("prepare MPI3D's layout (npz, deflated)", deflated, prepare, "mpi3d_toy", deflated),
        ("numpy.load of the stored npz", stored, load_npz, stored),
        ("numpy.load of the deflated npz", deflated, load_npz, deflated),
    ]
    rows = []
    for what, path, *call in work:
        seconds, peak, _ = alone(*call)
        rows.append((what, f"{path.stat().st_size / 1e9:.2f}", f"{seconds:.0f}", f"{peak:.2f}"))
    show("preparing", rows, ("what", "file, GB", "seconds", "peak memory, GB"))

    work = [
        ("random, disbench", read_prepared, "shapes3d", False),
        ("random, numpy on the same file, memory-mapped", read_numpy, "shapes3d", False),
        ("random, h5py on Shapes3D's layout", read_hdf5, hdf5),
        ("in order, disbench", read_prepared, "shapes3d", True),
        ("in order, numpy on the same file, memory-mapped", read_numpy, "shapes3d", True),
    ]
    found: dict[str, list[tuple[float, float]]] = {what: [] for what, *_ in work}
    for _ in range(5):  # one after the other, so that what else the machine does hits all alike
        for what, *call in work:
            if len(found[what]) < (2 if call[0] is read_hdf5 else 5):
                _, peak, result = alone(*call)
                found[what].append((float(result), peak))
    rows = []
    for what, results in found.items():
        ours = max(found[f"{what.split(',')[0]}, disbench"])[0]
        fastest = max(results)[0]
        peak = max(peak for _, peak in results)
        rows.append((what, f"{fastest:,.0f}", f"{ours / fastest:,.2f}", f"{peak:.2f}"))
    show("reading", rows, ("batches of 256", "images/s", "disbench / this", "peak memory, GB"))


def show(name: str, rows: list[tuple[str, ...]], headers: tuple[str, ...]) -> None:
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    print(table)
    replace_table(Path(__file__).parent / "README.md", name, table)


if __name__ == "__main__":
    main()
