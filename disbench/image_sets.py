"""Sets of images to be compared: a folder of pictures, an npz file or a data set; read some at a time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch

from disbench import archives, arrays
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.images import serve
from disbench.plan import distinct, generator_for
from disbench.types import Dataset, DatasetSpec, Indices, Pixels

IMAGE_KEYS = ("images", "arr_0", "imgs", "data")  # in an npz file, the first of them that it holds
STATISTICS_KEYS = ("mu", "sigma")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_MAX_WHOLE = 2**26  # images of a set that are taken all if no number is named
_NUMBERS = tuple(np.dtype(code).name for code in "?bBhHiIqQefd")
_CPU = torch.device("cpu")

Read = Callable[[Indices, int, torch.device], Iterator[Pixels]]


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one size, read some at a time.

    Args:
        name: in tables and records.
        n: how many.
        shape: of one: (h, w, c), c = 1 or 3.
        read: (index int64 (m,), ascending; batch size; device) -> Pixels, batch by batch.
        digest: sha256 that tells these images from others.
    """

    name: str
    n: int
    shape: tuple[int, ...]
    read: Read
    digest: Callable[[], str]

    def __len__(self) -> int:
        return self.n

    def batches(self, batch_size: int, index: Indices | None = None, device: torch.device = _CPU) -> Iterator[Pixels]:
        """Pixels uint8 (m, h, w, c) of the images of an index, by default of all, each once and in ascending order."""
        yield from self.read(torch.arange(self.n) if index is None else index.sort().values, batch_size, device)

    def draw(self, num_images: int | None, seed: int) -> Indices:
        """So many different images, drawn at random; by default all of them, in order.

        Raises:
            UsageError: there are fewer.
        """
        if num_images is None:
            if self.n > _MAX_WHOLE:
                raise UsageError(f"{self.name} has {self.n:,} images; say how many are compared: --num-images N.")
            return torch.arange(self.n)
        if num_images < 2:
            raise UsageError(f"two sets are compared by at least 2 images of each; got {num_images}.")
        if num_images > self.n:
            raise UsageError(f"{num_images:,} images were asked for, and {self.name} has {self.n:,}.")
        return distinct(self.n, num_images, generator_for(seed, "images", 1))

    @cached_property
    def content_hash(self) -> str:
        """sha256 that tells these images from others."""
        return self.digest()


@dataclass(frozen=True)
class StatisticsFile:
    """A file that holds the statistics of features in place of images; all that FID needs."""

    path: Path

    @property
    def name(self) -> str:
        """In tables and records."""
        return str(self.path)

    @cached_property
    def content_hash(self) -> str:
        """sha256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


ImageSource: TypeAlias = str | Path | np.ndarray | torch.Tensor | Dataset | ImageSet | StatisticsFile


@overload
def open_images(source: Dataset | ImageSet, data_dir: str | Path | None = None) -> ImageSet: ...


@overload
def open_images(source: ImageSource, data_dir: str | Path | None = None) -> ImageSet | StatisticsFile: ...


def open_images(source: ImageSource, data_dir: str | Path | None = None) -> ImageSet | StatisticsFile:
    """Make an image set of whatever stands for one; a file of statistics stays one.

    Args:
        source: a folder, all pictures in and below which are meant, in the order of their names; an npz file with an
            array `images`, `arr_0`, `imgs` or `data`, uint8 (n, h, w, c) or (n, h, w), or with statistics, `mu` and
            `sigma`; the name of a data set, or a data set; an array uint8 (n, h, w, c), numpy or torch.
        data_dir: folder with the data set's files, where it needs any.

    Raises:
        UsageError: there is nothing of this name or at this path.
        DisbenchError: it holds no pictures, or others than 8-bit ones of one size, grey or RGB.
    """
    if isinstance(source, ImageSet | StatisticsFile):
        return source
    if isinstance(source, np.ndarray | torch.Tensor):
        return _of_array(torch.as_tensor(source))
    if not isinstance(source, str | Path):
        return images_of_dataset(source)
    from disbench.registry import aliases, datasets, load_dataset

    known = [*datasets(), *aliases()]
    if str(source) in known:
        _check_pictures(datasets()[aliases().get(str(source), str(source))].spec)  # before its files are fetched
        return images_of_dataset(load_dataset(source, data_dir))
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file() and path.suffix.lower() != ".npz":
        raise UsageError(f"{path} is neither a folder of pictures nor an npz file.")
    if path.is_file():
        return _of_npz(path)
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no folder or npz file at {path}.")
    raise UsageError(f"there is no folder, npz file or data set called {str(source)!r}; {_near(str(source), known)}")


def _digest(shape: tuple[int, ...], pieces: Iterable[Any]) -> str:
    digest = hashlib.sha256(repr(shape).encode())
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _near(name: str, known: list[str]) -> str:
    near = did_you_mean(name, known)
    return near if near.startswith("did you mean") else "disbench list datasets names those that there are."


def _check_pictures(spec: DatasetSpec) -> None:
    if len(spec.image_shape) != 3 or spec.dtype != "uint8" or spec.image_shape[2] not in (1, 3):
        shape = " x ".join(map(str, spec.image_shape))
        raise UsageError(
            f"{spec.name} has observations {shape} {spec.dtype}; features are found in pictures, uint8, grey or RGB."
        )


def images_of_dataset(dataset: Dataset) -> ImageSet:
    """The images of a data set of pictures.

    Raises:
        UsageError: it is no data set, or one of other observations.
    """
    spec = getattr(dataset, "spec", None)
    if spec is None:
        raise UsageError(f"images are a folder, an npz file, an array or a data set; got {type(dataset).__name__}.")
    _check_pictures(spec)

    def read(index: Indices, batch_size: int, device: torch.device) -> Iterator[Pixels]:
        return (serve(dataset, some, device) for some in index.split(batch_size))

    return ImageSet(spec.name, len(dataset), spec.image_shape, read, lambda: dataset.content_hash)


def _of_array(images: Pixels) -> ImageSet:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise DisbenchError(
            f"an array of images is uint8 (n, h, w, c), grey or RGB; got {images.dtype} {tuple(images.shape)}."
        )
    shape = tuple(images.shape[1:])

    def read(index: Indices, batch_size: int, device: torch.device) -> Iterator[Pixels]:
        return (images[some.to(images.device)].to(device) for some in index.split(batch_size))

    return ImageSet("array", len(images), shape, read, lambda: _digest(shape, [images.cpu().contiguous().numpy().data]))


def _of_folder(folder: Path) -> ImageSet:
    """The pictures in and below a folder; other files are passed over."""
    files = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    if not files:
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise UsageError(f"the folder {folder} holds no pictures; expected files of these kinds: {kinds}.")
    shape = archives.picture_as_it_is(files[0]).shape

    def read(index: Indices, batch_size: int, device: torch.device) -> Iterator[Pixels]:
        for some in index.split(batch_size):
            pixels = np.empty((len(some), *shape), np.uint8)
            for pixel, row in zip(pixels, some.tolist(), strict=True):
                pixel[:] = archives.picture_as_it_is(files[row], shape)
            yield torch.from_numpy(pixels).to(device)

    def pieces() -> Iterator[bytes]:
        for file in files:
            yield file.relative_to(folder).as_posix().encode() + b"\0"
            yield hashlib.sha256(file.read_bytes()).digest()

    return ImageSet(str(folder), len(files), shape, read, lambda: _digest(shape, pieces()))


def _of_npz(path: Path) -> ImageSet | StatisticsFile:
    with archives.open_zip(path) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
    key = next((key for key in IMAGE_KEYS if key in keys), None)
    if key is None and all(wanted in keys for wanted in STATISTICS_KEYS):
        return StatisticsFile(path)
    if key is None:
        there = ", ".join(sorted(keys)[:5]) or "nothing"
        raise DisbenchError(
            f"{path} holds no array {', '.join(IMAGE_KEYS[:-1])} or {IMAGE_KEYS[-1]}, nor statistics "
            f"{' and '.join(STATISTICS_KEYS)}; it holds {there}."
        )
    stream = _stream(path, key)
    shape = (*stream.shape[1:3], stream.shape[3] if len(stream.shape) == 4 else 1)

    def read(index: Indices, batch_size: int, device: torch.device) -> Iterator[Pixels]:
        for rows in _rows(stream, index.numpy(), batch_size):
            yield torch.from_numpy(rows.reshape(len(rows), *shape)).to(device)

    def digest() -> str:
        return _digest(shape, map(np.ascontiguousarray, stream.slabs()))

    return ImageSet(str(path), stream.shape[0], shape, read, digest)


def _stream(path: Path, key: str) -> arrays.NpyStream:
    """The array of an npz file, if it holds pictures.

    Raises:
        DisbenchError: it has another shape or type.
    """
    stream = None
    for rank in (3, 4):
        with contextlib.suppress(DisbenchError):
            stream = arrays.npz_array(path, key, (None,) * rank, _NUMBERS)
    if stream is None:  # says why
        return arrays.npz_array(path, key, (None,) * 4, ("uint8",))
    what, shape = f"{path}: {key}", stream.shape
    if stream.dtype != np.uint8:
        advice = "whole numbers: save images.astype(numpy.uint8)"
        if stream.dtype.kind == "f":
            advice = "floats in [0, 1]: save (images * 255).round().astype(numpy.uint8)"
        raise DisbenchError(f"{what} is of type {stream.dtype.name}; expected uint8, 0 ... 255. If they are {advice}.")
    if 0 in shape:
        raise DisbenchError(f"{what} has shape {shape}; expected at least one image.")
    if len(shape) == 4 and shape[3] not in (1, 3):
        if shape[1] in (1, 3):
            raise DisbenchError(f"{what} has shape {shape}; the channel comes last: numpy.moveaxis(images, 1, -1).")
        advice = "; leave transparency out: images[..., :3]" if shape[3] == 4 else ""
        raise DisbenchError(f"{what} has shape {shape}; expected grey or RGB, 1 or 3 channels{advice}.")
    return stream


def _rows(stream: arrays.NpyStream, index: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Rows of an array, of an ascending index, read from the first to the last."""
    start = 0
    for slab in stream.slabs():
        here = index[np.searchsorted(index, start) : np.searchsorted(index, start + len(slab))] - start
        for at in range(0, len(here), batch_size):
            yield slab[here[at : at + batch_size]]
        start += len(slab)
