"""The cache folder for prepared arrays."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from disbench.errors import UsageError
from disbench.files import replacing


def cache_dir() -> Path:
    """The folder named by DISBENCH_CACHE, by default `disbench` in the user's cache folder."""
    if named := os.environ.get("DISBENCH_CACHE"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "disbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "disbench"


def cached_array(file_name: str, make: Callable[[], np.ndarray], expected: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of shape `expected` kept as FILE_NAME in the cache folder, made and stored if it is not there.

    The file is written beside and renamed, and its name carries the digest of its bytes, so that neither an
    interrupted run nor a damaged disk can pass off something else. Where the folder cannot be written, the array is
    made anew each time.
    """
    folder = cache_dir()
    stem, suffix = os.path.splitext(file_name)
    for path in sorted(folder.glob(f"{stem}-*{suffix}")) if folder.is_dir() else ():
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        if array.shape == expected and array.dtype == np.uint8 and path.stem == f"{stem}-{_digest(array)}":
            return array
    array = make()
    try:
        with replacing(folder / f"{stem}-{_digest(array)}{suffix}") as file:
            np.save(file, array, allow_pickle=False)
    except (OSError, UsageError) as error:
        print(f"disbench: going on without a cache: {error}", file=sys.stderr)
    return array


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]
