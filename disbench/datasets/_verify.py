"""What is known of a data set, tried on the files at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import MEAN_TOLERANCE, row_of_numbers
from disbench.datasets._recipe import Recipe, here, read_notes
from disbench.errors import UsageError
from disbench.registry import Check, pick_dataset

N_AT_ONCE = 1024  # images


def verify(name: str, data_dir: str | Path | None = None, progress: bool = False) -> Iterator[Check]:
    """Try what is known of a data set: the hashes of its files, the number of images, published statistics.

    Args:
        name: of the data set.
        data_dir: folder with its files, where it is read from them each time.
        progress: show a bar on stderr.

    Raises:
        UsageError: there is no such data set, or it is not prepared.
    """
    entry = pick_dataset(name)
    if entry.recipe is not None:
        if read_notes(entry.recipe) is None:
            recipe = entry.recipe.spec.name
            state = here(entry.recipe, Path(data_dir) if data_dir is not None else None)
            raise UsageError(f"{recipe} is not prepared here ({state}); run: disbench datasets prepare {recipe}")
        yield from _checks_of_recipe(entry.recipe, open_prepared(entry.recipe), progress)
    dataset = entry.open(Path(data_dir) if data_dir is not None else None)
    if entry.recipe is None:
        expected = entry.spec.n_images
        yield Check("images", f"{expected:,}", f"{len(dataset):,}", len(dataset) == expected)
    yield from entry.checks(dataset)


def _checks_of_recipe(recipe: Recipe, dataset: Prepared, progress: bool) -> Iterator[Check]:
    for source in dataset.notes["sources"]:
        if source["sha256"]:  # a folder has none
            yield _check_hash(recipe, source["name"], source["sha256"], source["verified_by"])
    yield Check("images", f"{recipe.shape[0]:,}", f"{len(dataset):,}", len(dataset) == recipe.shape[0])
    digest, totals = hashlib.sha256(), np.zeros((2, recipe.spec.image_shape[-1]))
    with tqdm(
        total=len(dataset), desc=f"verify {recipe.spec.name}", unit="image", unit_scale=True, disable=not progress
    ) as bar:
        for rows in dataset.in_order(N_AT_ONCE):
            digest.update(np.ascontiguousarray(rows).data)
            if recipe.mean:
                totals += _mean_and_spread(rows)
            bar.update(len(rows))
    written = dataset.notes["arrays"]["images.npy"]["sha256"]
    found = digest.hexdigest()
    yield Check("bytes of images.npy", f"sha256 {written[:16]}", f"sha256 {found[:16]}", found == written)
    means, spreads = totals / len(dataset)
    for what, published, ours in (
        ("mean of each channel", recipe.mean, means),
        ("spread within an image", recipe.std, spreads),
    ):
        if published:
            holds = bool(np.allclose(ours, published, rtol=0, atol=MEAN_TOLERANCE))
            yield Check(what, row_of_numbers(published), row_of_numbers(ours), holds)


def _check_hash(recipe: Recipe, name: str, sha256: str, verified_by: str) -> Check:
    """Of another copy the pixels decide, in the checks that follow."""
    file = next(f for source in recipe.sources for f in source.files if f.name == name)
    published = file.sha256 or file.md5
    if published is None:
        return Check(f"hash of {name}", "none published", f"sha256 {sha256[:16]}", True)
    if verified_by == "hash":
        return Check(f"hash of {name}", published[:16], published[:16], True)
    return Check(f"hash of {name}", published[:16], f"another copy, sha256 {sha256[:16]}", file.has_copies)


def _mean_and_spread(rows: np.ndarray) -> np.ndarray:
    """Sums over images (2, c): mean and unbiased standard deviation within each, by channel; bytes as parts of 255."""
    pixels = rows.reshape(len(rows), -1, rows.shape[-1]).astype(np.float64)
    if rows.dtype == np.uint8:
        pixels /= 255
    return np.stack([pixels.mean(1).sum(0), pixels.std(1, ddof=1).sum(0)])
