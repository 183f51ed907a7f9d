"""From published files to a prepared one: found or fetched, verified, converted once, there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import disbench
from disbench import sources
from disbench.cache import cache_dir
from disbench.datasets._recipe import FORMAT, Recipe, Slabs, Source, describe, read_notes
from disbench.errors import DisbenchError, UsageError
from disbench.files import exclusively
from disbench.registry import datasets
from disbench.sources import SourceFile, Verified
from disbench.types import DatasetSpec


def prepare(recipe: Recipe, *, source: Path | None = None, data_dir: Path | None = None, progress: bool = True) -> Path:
    """Make the prepared file: find or download the data set's files, verify them, convert them.

    An interruption at any point leaves nothing that could be taken for the prepared file, and what was downloaded is
    kept. Memory stays below 1 GB.

    Args:
        recipe: of the data set.
        source: the file that the user has, or the folder with the files; by default they are looked for in `data_dir`
            and downloaded where possible.
        data_dir: a folder to look in; by default the one that DISBENCH_DATA names.
        progress: show bars on stderr.

    Returns:
        The folder.

    Raises:
        UsageError: files are missing; the cache cannot be written or has no room.
        DisbenchError: a file is not what its name says.
    """
    name = recipe.spec.name
    sources.check_writable(recipe.folder.parent)
    with (
        open(recipe.folder.with_name(f"{name}.lock"), "wb") as lock,
        exclusively(lock, f"waiting for another process that prepares {name}."),
    ):
        if source is None and read_notes(recipe) is not None:  # another process was first
            return recipe.folder
        if recipe.folder.exists() and read_notes(recipe) is None:
            _say(f"{recipe.folder} was prepared by another version, or is damaged; it is made anew.")
        part = recipe.folder.with_name(f"{name}.part")
        for leftover in (part, _old(recipe.folder)):  # of a run that was killed
            _remove(leftover)
        sources.check_space(recipe.folder.parent, recipe.size, f"preparing {name}")
        form, paths = _given(recipe, source) if source is not None else _found(recipe, data_dir, progress)
        verified = {file.name: sources.verify(paths[file.name], file, _all_files(), progress) for file in form.files}
        for file in form.files:
            if verified[file.name].by != "hash" and not file.is_folder:
                note = "is another copy than the published one" if file.sha256 or file.md5 else "has no published hash"
                _say(f"{paths[file.name]} {note}; its content decides. sha256 {verified[file.name].sha256}")
        _say(f"preparing {name} ({sources.human_bytes(recipe.size)}) from {', '.join(map(str, paths.values()))}.")
        try:
            part.mkdir()
            notes = _convert(recipe, form, paths, part, progress)
            notes["sources"] = [
                {"name": file.name, "bytes": v.size, "sha256": v.sha256, "verified_by": v.by}
                for file in form.files
                for v in (verified[file.name],)
            ]
            _check_means(recipe, notes, verified)
            with open(part / "prepared.json", "w") as out:
                json.dump(notes, out, indent=1)
                out.flush()
                os.fsync(out.fileno())
            _take_place(part, recipe.folder)
        except OSError as error:
            raise DisbenchError(
                f"{name} could not be prepared in {part.parent}: {error}. Put that right, or name another folder with "
                "DISBENCH_CACHE, and run it again."
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return recipe.folder


def _all_files() -> list[SourceFile]:
    """The files of all data sets: one may have been given for another."""
    recipes = [entry.recipe for entry in datasets().values() if entry.recipe is not None]
    return [file for recipe in recipes for source in recipe.sources for file in source.files]


def _say(text: str) -> None:
    print(f"disbench: {text}", file=sys.stderr)


def _given(recipe: Recipe, source: Path) -> tuple[Source, dict[str, Path]]:
    """The form of the data set that a path given by the user is, and its files."""
    wanted = "\n  or ".join(", ".join(file.name for file in form.files) for form in recipe.sources)
    if not source.exists():
        raise UsageError(f"there is nothing at {source}; expected a file or a folder with\n  {wanted}")
    folder = source if source.is_dir() else source.parent
    for form in recipe.sources:
        found = sources.find(form.files, [folder])
        if len(form.files) == 1 and source.is_dir() and form.files[0].is_folder and not found:
            found = {form.files[0].name: source}
        is_meant = source.is_dir() or source.name in found
        if is_meant and len(found) == len(form.files):
            return form, found
    if source.is_file():  # by another name
        for form in recipe.sources:
            if len(form.files) == 1 and source.suffix == Path(form.files[0].name).suffix:
                return form, {form.files[0].name: source}
    raise UsageError(
        f"{source} is not what {recipe.spec.name} is made of; expected a file or a folder with\n  {wanted}"
    )


def _found(recipe: Recipe, data_dir: Path | None, progress: bool) -> tuple[Source, dict[str, Path]]:
    """The form of the data set whose files are here; else the one that lacks fewest, completed by downloads."""
    folders = sources.data_folders(data_dir)
    all_found = [(form, sources.find(form.files, folders)) for form in recipe.sources]
    form, found = min(all_found, key=_n_missing)
    if found and not _n_missing((form, found)):
        return form, found
    if not found:
        form = recipe.sources[0]
    missing = [file for file in form.files if file.name not in found]
    if by_hand := [file for file in missing if not file.urls]:
        raise UsageError(
            f"{recipe.spec.name} needs files that a program cannot fetch. {sources.by_hand(by_hand, recipe.spec.name)}"
        )
    n_bytes, size = sources.sizes(missing)
    _say(
        f"{recipe.spec.name} is not on this machine: fetching {', '.join(file.name for file in missing)} ({size}) into "
        f"{sources.downloads_dir()}, then converting to {sources.human_bytes(recipe.size)} in {recipe.folder}."
    )
    sources.check_space(cache_dir(), n_bytes + recipe.size, f"downloading and preparing {recipe.spec.name}")
    return form, found | {file.name: sources.download(file, progress, recipe.spec.name) for file in missing}


def _n_missing(form_and_found: tuple[Source, dict[str, Path]]) -> int:
    form, found = form_and_found
    return len(form.files) - len(found) if found else 1 << 30


def _convert(recipe: Recipe, form: Source, paths: Mapping[str, Path], part: Path, progress: bool) -> dict[str, Any]:
    """Write the arrays into the folder `part`; returns what prepared.json says of them."""
    spec = recipe.spec
    arrays = {}
    if form.read_factors is not None:
        factors = form.read_factors(paths, spec)
        _check_labels(recipe, factors)
        arrays["factors.npy"] = _write(part / "factors.npy", factors.shape, "uint8", iter([factors]), spec.name)
    with tqdm(
        total=recipe.shape[0], desc=f"prepare {spec.name}", unit="image", unit_scale=True, disable=not progress
    ) as bar:
        sums = _Sums(spec)

        def counted() -> Slabs:
            for slab in form.read(paths, spec):
                yield slab
                sums.add(slab)  # after its shape was found right
                bar.update(len(slab))

        arrays["images.npy"] = _write(part / "images.npy", recipe.shape, spec.dtype, counted(), spec.name)
    return {
        "format": FORMAT,
        "recipe": describe(recipe),
        "arrays": arrays,
        "mean": sums.mean(recipe.shape[0]),
        "versions": _versions(),
    }


def _check_labels(recipe: Recipe, factors: np.ndarray) -> None:
    if factors.shape != (recipe.shape[0], recipe.spec.space.n_factors):
        raise DisbenchError(
            f"{recipe.spec.name} should have {recipe.shape[0]:,} rows of {recipe.spec.space.n_factors} labels; these "
            f"are {factors.shape[0]:,} of {factors.shape[1]}, so images and labels do not belong together."
        )


def _write(path: Path, shape: Sequence[int], dtype: str, slabs: Slabs, name: str) -> dict[str, Any]:
    """Write rows as a .npy file of exactly this shape; returns its size and the sha256 of the rows."""
    digest = hashlib.sha256()
    n_rows = 0
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)},
        )
        for slab in slabs:
            if slab.dtype != dtype or slab.shape[1:] != tuple(shape[1:]):
                raise DisbenchError(
                    f"{name}: rows came as {slab.dtype} {slab.shape[1:]}; expected {dtype} {tuple(shape[1:])}."
                )
            n_rows += len(slab)
            if n_rows > shape[0]:
                break
            rows = np.ascontiguousarray(slab).data
            digest.update(rows)
            file.write(rows)
        if n_rows != shape[0]:
            raise DisbenchError(
                f"{name} holds {'more than ' if n_rows > shape[0] else ''}{min(n_rows, shape[0]):,} images and should "
                f"hold {shape[0]:,}, one for each combination of its factors; images and labels do not belong together."
            )
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


class _Sums:
    """Sums of each channel, exact for bytes."""

    def __init__(self, spec: DatasetSpec) -> None:
        self.shape, self.is_bytes = spec.image_shape, spec.dtype == "uint8"
        self.total: Any = np.zeros(int(np.prod(spec.image_shape)), np.uint64 if self.is_bytes else np.float64)

    def add(self, slab: np.ndarray) -> None:
        for some in np.array_split(slab, max(1, len(slab) // 1024)):  # bytes summed in 32 bits, which is fast
            flat = some.reshape(len(some), -1)
            self.total += flat.sum(0, dtype=np.uint32 if self.is_bytes else np.float64)

    def mean(self, n_images: int) -> list[float]:
        """Of each channel; bytes as fractions of 255."""
        by_channel = self.total.reshape(-1, self.shape[-1]).sum(0).astype(np.float64)
        n_each = n_images * (np.prod(self.shape[:-1]) * (255 if self.is_bytes else 1))
        return [float(total / n_each) for total in by_channel]


MEAN_TOLERANCE = 1e-4


def _check_means(recipe: Recipe, notes: Mapping[str, Any], verified: Mapping[str, Verified]) -> None:
    """Where no hash vouches for the files, the published means have to."""
    if not recipe.mean or all(v.by == "hash" for v in verified.values()):
        return
    if not np.allclose(notes["mean"], recipe.mean, rtol=0, atol=MEAN_TOLERANCE):
        raise DisbenchError(
            f"these files have neither the hash nor the pixels of {recipe.spec.name}: the channels' means are "
            f"{row_of_numbers(notes['mean'])}; expected {row_of_numbers(recipe.mean)}. They hold something else."
        )


def row_of_numbers(numbers: Iterable[float]) -> str:
    """Five decimals each."""
    return ", ".join(f"{number:.5f}" for number in numbers)


def _versions() -> dict[str, str]:
    import h5py
    import PIL

    return {
        "disbench": disbench.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "h5py": h5py.__version__,
    }


def _take_place(part: Path, folder: Path) -> None:
    """Rename a whole folder to its place; one that was there goes."""
    old = _old(folder)
    _remove(old)
    if folder.exists():
        os.rename(folder, old)
    os.rename(part, folder)
    _remove(old)


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _remove(path: Path) -> None:
    """Remove a folder, or a file in its place, if there is one."""
    if path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
