"""Features that a network finds in images, and their statistics: gathered in one pass, mergeable, kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from disbench.errors import DisbenchError, UsageError
from disbench.types import MAX_CODE

_ASYMMETRY = 1e-5  # of a covariance in a file, relative to its largest entry: other tools may have written float32


@dataclass(frozen=True)
class Statistics:
    """Number, mean and scatter of features.

    Args:
        n: how many images; 0 if that is unknown, as in files that other tools wrote.
        mean: float64 (d,).
        scatter: float64 (d, d), the sum over images of the outer square of what is left without the mean; the
            covariance itself where n is unknown.
        extractor: identifies the network that found the features; empty if that is unknown.
    """

    n: int
    mean: Tensor
    scatter: Tensor
    extractor: str = ""

    @staticmethod
    def of(features: Tensor, extractor: str = "") -> Statistics:
        """Statistics of features (n, d), n at least 1, on their device."""
        features = features.double()
        mean = features.mean(0)
        centred = features - mean
        drift = centred.mean(0)  # what rounding left in the mean
        centred -= drift
        return Statistics(len(features), mean + drift, centred.T @ centred, extractor)

    @property
    def covariance(self) -> Tensor:
        """float64 (d, d), unbiased: the scatter divided by n - 1.

        Raises:
            DisbenchError: there is one image.
        """
        if self.n == 1:
            raise DisbenchError("one image has no covariance of features; take at least 2.")
        return self.scatter / (self.n - 1) if self.n else self.scatter

    def merged(self, other: Statistics) -> Statistics:
        """Statistics of both sets of images together; in whichever order, up to rounding.

        Raises:
            DisbenchError: they cannot be compared, or it is unknown how many images either was made of.
        """
        check_comparable(self, other)
        if not (self.n and other.n):
            raise DisbenchError("statistics can be merged only where both say how many images they were made of.")
        n = self.n + other.n
        shift = other.mean.to(self.mean.device) - self.mean
        scatter = self.scatter + other.scatter.to(self.scatter.device)
        scatter.addr_(shift, shift, alpha=self.n * other.n / n)
        return Statistics(n, self.mean + shift * (other.n / n), scatter, self.extractor or other.extractor)

    def to(self, device: torch.device | str) -> Statistics:
        """The same with its tensors on a device."""
        return Statistics(self.n, self.mean.to(device), self.scatter.to(device), self.extractor)

    def save(self, file: str | Path | BinaryIO) -> None:
        """Write an npz file with the arrays `mu` and `sigma` (the covariance) and, where known, `n` and `features`.

        Raises:
            DisbenchError: there is one image, which has no covariance.
        """
        arrays: dict[str, Any] = {"mu": self.mean.cpu().numpy(), "sigma": self.covariance.cpu().numpy()}
        arrays |= {"n": np.int64(self.n)} if self.n else {}
        arrays |= {"features": np.array(self.extractor)} if self.extractor else {}
        if isinstance(file, str | Path):
            with open(file, "wb") as opened:  # numpy would add a suffix
                np.savez(opened, **arrays)
        else:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | Path) -> Statistics:
        """Read what `save`, or another tool, wrote; nothing in the file is executed.

        Raises:
            UsageError: there is no such file.
            DisbenchError: it is no npz file of plain arrays, lacks one, or an array is not what it should be.
        """
        arrays = _read_npz(path)
        mean, covariance = _numbers(path, "mu", arrays["mu"]), _numbers(path, "sigma", arrays["sigma"])
        n, extractor = _whole(path, arrays.get("n")), _text(path, arrays.get("features"))
        if mean.ndim != 1 or len(mean) < 1:
            raise DisbenchError(f"{path}: mu must be (d,), a mean per feature; got shape {mean.shape}.")
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise DisbenchError(f"{path}: sigma must be square, (d, d); got shape {covariance.shape}.")
        if len(covariance) != len(mean):
            raise DisbenchError(
                f"{path}: mu has {len(mean)} features and sigma {len(covariance)}; they must be of the same."
            )
        if np.abs(covariance - covariance.T).max() > _ASYMMETRY * np.abs(covariance).max():
            raise DisbenchError(f"{path}: sigma is not symmetric, so it is no covariance; make the file again.")
        if covariance.diagonal().min() < 0:
            raise DisbenchError(f"{path}: sigma has a negative variance on its diagonal; make the file again.")
        scatter = torch.from_numpy((covariance + covariance.T) / 2) * (n - 1 if n else 1)
        return Statistics(n, torch.from_numpy(mean), scatter, extractor)


@dataclass(frozen=True)
class Features:
    """What an extractor found in a set of images.

    Args:
        statistics: of all of them.
        rows: float32 (n, d), every image's, where they were kept.
    """

    statistics: Statistics
    rows: Tensor | None = None


class Collector:
    """Gathers features batch by batch: their statistics in float64, in one pass, and, if asked, every image's.

    Statistics are gathered on the GPU where the features are on one, and end on the CPU, as kept rows do.
    """

    def __init__(self, *, keep_rows: bool = False, extractor: str = "", of: str = "") -> None:
        self.n = 0
        self._of = f" of {of}" if of else ""  # for messages
        self._keep_rows = keep_rows
        self._extractor = extractor
        self._statistics: Statistics | None = None
        self._rows: list[Tensor] = []

    def add(self, batch: Tensor) -> None:
        """Take the features (n, d) of the next n images.

        Raises:
            DisbenchError: they are not real numbers of that shape, or as many as before; or they are not finite.
        """
        batch = batch.detach()
        batch = batch if batch.device.type == "cuda" else batch.cpu()  # other accelerators may lack float64
        self._check(batch)
        if len(batch) == 0:
            return
        found = Statistics.of(batch, self._extractor)
        self._statistics = found if self._statistics is None else self._statistics.merged(found)
        self.n += len(batch)
        if self._keep_rows:
            self._rows.append(batch.to("cpu", torch.float32, copy=True))

    def features(self) -> Features:
        """What was gathered, on the CPU.

        Raises:
            DisbenchError: there was nothing.
        """
        if self._statistics is None:
            raise DisbenchError("there are no features: the set of images is empty.")
        return Features(self._statistics.to("cpu"), torch.cat(self._rows) if self._keep_rows else None)

    def _check(self, batch: Tensor) -> None:
        if batch.ndim != 2 or batch.shape[1] == 0:
            raise DisbenchError(f"features must be (n, d), a row for each image; got shape {tuple(batch.shape)}.")
        if batch.is_complex() or batch.dtype == torch.bool:
            raise DisbenchError(f"features must be real numbers; got {batch.dtype}.")
        if self._statistics is not None and batch.shape[1] != len(self._statistics.mean):
            raise DisbenchError(
                f"every image must have the same features; image {self.n} has {batch.shape[1]} and those before it "
                f"{len(self._statistics.mean)}."
            )
        fits = (batch.double().abs() <= MAX_CODE).all(1)  # NaN does not
        if not bool(fits.all()):
            at = int((~fits).nonzero()[0])
            if bool(torch.isfinite(batch[at]).all()):
                raise DisbenchError(f"the features of image {self.n + at}{self._of} leave ±{MAX_CODE:g}; rescale them.")
            raise DisbenchError(
                f"the features of image {self.n + at}{self._of} are not finite; look at it, and at the network."
            )


def features_of(array: Any, *, keep_rows: bool = False) -> Features:
    """Features (n, d) in numpy, torch or lists, checked.

    Raises:
        DisbenchError: they are not finite real numbers of that shape, or there are none.
    """
    if not isinstance(array, Tensor):
        try:
            converted = np.array(array)
        except ValueError as error:
            raise DisbenchError(f"features are no array: {error}") from None
        if converted.dtype.kind not in "iufbc":
            raise DisbenchError(f"features must be real numbers; got dtype {converted.dtype}.")
        if converted.dtype.kind in "iu" or converted.dtype.itemsize > 8 or not converted.dtype.isnative:
            converted = converted.astype(complex if converted.dtype.kind == "c" else np.float64)
        array = torch.from_numpy(converted)
    collector = Collector(keep_rows=keep_rows)
    collector.add(array)
    return collector.features()


def check_comparable(real: Statistics, made: Statistics) -> None:
    """Check that two sets were seen through the same features, as far as that is known.

    Raises:
        DisbenchError: they were not.
    """
    if real.extractor and made.extractor and real.extractor != made.extractor:
        raise DisbenchError(
            f"features of {real.extractor} and of {made.extractor} cannot be compared; use one extractor for both sets."
        )
    if len(real.mean) != len(made.mean):
        raise DisbenchError(
            f"{len(real.mean)} and {len(made.mean)} features cannot be compared; use one extractor for both sets."
        )


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise UsageError(f"there is no file at {path}.")
    try:
        with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
            names = ("mu", "sigma", "n", "features")
            arrays = {name: file[name] for name in names if name in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise DisbenchError(f"{path} cannot be read as an npz file of plain arrays: {error}") from error
    if missing := [name for name in ("mu", "sigma") if name not in arrays]:
        raise DisbenchError(
            f"{path} lacks the array {' and '.join(missing)}; expected the mean mu (d,) and covariance sigma (d, d)."
        )
    return arrays


def _numbers(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise DisbenchError(f"{path}: {name} must hold real numbers; got dtype {array.dtype}.")
    if not np.isfinite(array).all():
        raise DisbenchError(f"{path}: {name} is not finite; make the file again from finite features.")
    return array.astype(np.float64)


def _whole(path: str | Path, array: np.ndarray | None) -> int:
    """The number of images; 0 if the file does not say."""
    if array is None:
        return 0
    if array.shape != () or array.dtype.kind not in "iu" or int(array) < 2:
        raise DisbenchError(f"{path}: n must be one whole number, at least 2: how many images there were.")
    return int(array)


def _text(path: str | Path, array: np.ndarray | None) -> str:
    """The extractor's name; empty if the file does not say."""
    if array is None:
        return ""
    if array.shape != () or array.dtype.kind != "U":
        raise DisbenchError(f"{path}: features must be one text, the name of the extractor.")
    return str(array)
