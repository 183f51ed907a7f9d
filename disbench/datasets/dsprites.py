"""dsprites: dSprites (Matthey et al. 2017) from the published file, and its variants in colour and noise.

737,280 black and white images of a sprite, in the order of their factors; the file's constant colour is left out, and
lit pixels are served as 255. Its class labels are compared with the index row by row. The npz also holds a pickled
description, which is not read.

`color_dsprites`, `noisy_dsprites` and `scream_dsprites` are those of Locatello et al. 2019, in three channels: a sprite
of one random colour; a white sprite on random noise; a sprite that inverts a crop of Munch's Scream, half hidden by a
random tint. What is random is hidden from the factors: 65,536 images share each combination, told apart by their index,
and an evaluation draws anew for each image which of them it is. `color_dsprites_regen` and so on are the same on top of
`dsprites_regen`.

Known defects: orientation 0 and 39 are the same picture, so orientation takes 40 values and shows 39; other pairs
coincide by symmetry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from disbench import archives, arrays, sources
from disbench.datasets import dsprites_regen
from disbench.datasets._grid import Grid, OnDevice, same_pixels
from disbench.datasets._noise import noise
from disbench.datasets._prepared import Prepared, prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError
from disbench.registry import Check, DatasetEntry
from disbench.sources import SourceFile
from disbench.types import Dataset, DatasetSpec, Indices, Pixels

SIDE = 64

SPEC = replace(
    dsprites_regen.SPEC,
    name="dsprites",
    summary="dSprites: a white sprite on black, 737,280 images, 5 factors",
    licence="Apache-2.0",
    known_defects=(
        "orientation 0 and 39 are the same picture: 40 values, 39 pictures",
        "other pairs coincide by symmetry (square, orientation 5 and 34)",
    ),
    made_on="cpu",
)

_ADDRESS = "https://github.com/google-deepmind/dsprites-dataset/raw/master/dsprites_ndarray_co1sh3sc6or40x32y32_64x64"
HDF5 = SourceFile(
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5",
    urls=(f"{_ADDRESS}.hdf5",),
    size=28_024_106,
    sha256="729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
    md5="b331c4447a651c44bf5e8ae09022e230",
)
NPZ = SourceFile(
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    urls=(f"{_ADDRESS}.npz",),
    md5="7da33b31b13a06f4b04a70402ce90c2e",
)
CLASS_TYPES = ("int64", "int32", "uint8", "float64")  # int64 in the npz; any that holds small whole numbers will do
N_LIT = 128_328_862  # pixels in the whole set


def _read_hdf5(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path = paths[HDF5.name]
    n_images = len(spec.space)
    with arrays.open_hdf5(path) as file:
        images = arrays.hdf5_array(path, file, "imgs", (n_images, SIDE, SIDE), ("uint8",))
        n_columns = 1 + spec.space.n_factors
        classes = arrays.hdf5_array(path, file, "latents/classes", (n_images, n_columns), CLASS_TYPES)
        _check_classes(path, classes[:], spec)
        yield from _as_bytes(path, arrays.hdf5_slabs(images))


def _read_npz(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path = paths[NPZ.name]
    n_images = len(spec.space)
    images = arrays.npz_array(path, "imgs", (n_images, SIDE, SIDE), ("uint8",))
    classes = arrays.npz_array(path, "latents_classes", (n_images, 1 + spec.space.n_factors), CLASS_TYPES)
    _check_classes(path, classes.whole(), spec)
    yield from _as_bytes(path, images.slabs())


def _check_classes(path: Path, classes: np.ndarray, spec: DatasetSpec) -> None:
    """Check class labels (n, 1 + k), whose first column is the constant colour."""
    expected = spec.space.values(torch.arange(len(spec.space))).numpy()
    wrong = np.flatnonzero((classes[:, 1:] != expected).any(1))
    if len(wrong):
        raise DisbenchError(
            f"{path}: image {wrong[0]} has the classes {classes[wrong[0], 1:].tolist()}; by the order of the factors "
            f"it should have {expected[wrong[0]].tolist()}. Images and labels do not belong together."
        )


def _as_bytes(path: Path, slabs: Iterator[np.ndarray]) -> Slabs:
    """0 and 1 as 0 and 255."""
    for slab in slabs:
        if slab.max(initial=0) > 1:
            raise DisbenchError(f"{path} holds pixels of {slab.max()}; expected 0 and 1 only.")
        yield slab[..., None] * np.uint8(255)


RECIPE = Recipe(
    spec=SPEC,
    sources=(Source((HDF5,), _read_hdf5), Source((NPZ,), _read_npz)),
    mean=(N_LIT / (737_280 * SIDE * SIDE),),
    std=(0.19516645880626055,),
)


def _checks(dataset: Dataset) -> Iterator[Check]:
    assert isinstance(dataset, Prepared)
    n_lit = round(dataset.notes["mean"][0] * len(dataset) * SIDE * SIDE)
    yield Check("lit pixels", f"{N_LIT:,}", f"{n_lit:,}", n_lit == N_LIT)
    space = dataset.spec.space
    values = space.draw(1000, torch.Generator().manual_seed(0))
    first, last = values.clone(), values.clone()
    first[:, 2], last[:, 2] = 0, space.sizes[2] - 1
    n_equal = int((dataset.images(space.index(first)) == dataset.images(space.index(last))).flatten(1).all(1).sum())
    yield Check("orientation 0 and 39 alike, of 1,000 pairs", "1,000", f"{n_equal:,}", n_equal == 1000)


N_HIDDEN = 2**16
STUDY = (
    "@inproceedings{locatello2019challenging, title={Challenging Common Assumptions in the Unsupervised Learning of "
    "Disentangled Representations}, author={Locatello, Francesco and Bauer, Stefan and Lucic, Mario and Raetsch, "
    "Gunnar and Gelly, Sylvain and Schoelkopf, Bernhard and Bachem, Olivier}, booktitle={ICML}, year={2019}}"
)
Paint = Callable[[Tensor, Indices], Pixels]  # bool masks (n, 64, 64, 1) and the images' numbers (n,) -> pixels


def _paint_color(is_lit: Tensor, index: Indices) -> Pixels:
    """Each channel of the sprite uniform in 128 ... 255."""
    colour = 128 | noise(index, 3, stream=1)
    channels = is_lit.view(-1, 1, SIDE * SIDE) * colour[:, :, None]  # three planes: fast, as they are long
    return channels.view(-1, 3, SIDE, SIDE).permute(0, 2, 3, 1)


def _paint_noisy(is_lit: Tensor, index: Indices) -> Pixels:
    """White on noise, uniform in 0 ... 255 for each pixel and channel."""
    background = noise(index, SIDE * SIDE * 3, stream=2).view(-1, SIDE, SIDE, 3)
    return torch.where(is_lit, torch.full_like(background, 255), background)


SCREAM = SourceFile("The_Scream.jpg", urls=("https://upload.wikimedia.org/wikipedia/commons/f/f4/The_Scream.jpg",))
SCREAM_FITS = (350, 274)  # width and height that it is shrunk to fit into


def _open_scream(data_dir: Path | None) -> Path:
    """Where the picture is; downloaded if it is nowhere."""
    found = sources.find([SCREAM], sources.data_folders(data_dir))
    return found[SCREAM.name] if found else sources.download(SCREAM, progress=True)


def _paint_scream(path: Path) -> Paint:
    """(crop + tint) / 2 behind the sprite, and its negative on the sprite."""
    picture = archives.open_picture(path, str(path), None)
    picture.thumbnail(SCREAM_FITS)
    height, width = picture.height - SIDE, picture.width - SIDE
    if min(height, width) < 1:
        raise DisbenchError(f"{path} shrinks to {picture.width} x {picture.height} pixels; crops of 64 x 64 need more.")
    whole = OnDevice(lambda: torch.from_numpy(np.array(picture)))

    def paint(is_lit: Tensor, index: Indices) -> Pixels:
        device = index.device
        random = noise(index, 16, stream=3)
        row, column = (random[:, :8].view(torch.int32).long() & 0x7FFFFFFF).unbind(1)
        side = torch.arange(SIDE, device=device)
        rows, columns = (row % height)[:, None] + side, (column % width)[:, None] + side
        crop = whole(device)[rows[:, :, None], columns[:, None, :]].short()
        background = ((crop + random[:, None, None, 8:11].short()) // 2).to(torch.uint8)
        return torch.where(is_lit, 255 - background, background)

    return paint


class Variant(Grid):
    """dSprites in three channels, with something random in each image.

    Args:
        spec: of the variant.
        base: the sprites.
        paint: masks and numbers of images -> pixels.
    """

    def __init__(self, spec: DatasetSpec, base: Dataset, paint: Paint) -> None:
        self.spec, self._base, self._paint = spec, base, paint

    @cached_property
    def content_hash(self) -> str:
        """sha256 over the sprites' and that of 1,000 images."""
        return hashlib.sha256(f"{self._base.content_hash} {super().content_hash}".encode()).hexdigest()

    def images(self, index: Indices) -> Pixels:
        """Pixels uint8 (n, 64, 64, 3) of images (n,)."""
        return self._paint(self._base.images(index % len(self._base)) > 0, index)


def _variant(base: DatasetEntry, kind: str, summary: str, paint: Callable[[Path | None], Paint]) -> DatasetEntry:
    """The entry of a variant on top of the data set `base`."""

    def here(data_dir: Path | None) -> str:
        needs_picture = kind == "scream" and not sources.find([SCREAM], sources.data_folders(data_dir))
        return base.here(data_dir) + (f"; {SCREAM.name} to be downloaded" if needs_picture else "")

    spec = replace(
        base.spec,
        name=f"{kind}_{base.spec.name}",
        summary=f"{base.spec.name}, {summary}",
        image_shape=(SIDE, SIDE, 3),
        citation=f"{base.spec.citation} {STUDY}",
        n_hidden=N_HIDDEN,
        known_defects=(
            *base.spec.known_defects,
            "one combination of factors has many images: an evaluation draws which, so two draws of it differ",
        ),
    )

    def opened(data_dir: Path | None) -> Variant:
        return Variant(spec, base.open(data_dir), paint(data_dir))

    content = CONTENT.get(spec.name)
    return DatasetEntry(spec, opened, base.recipe, here, same_pixels(content) if content else _no_known_pixels)


def _no_known_pixels(dataset: Dataset) -> Iterator[Check]:
    yield Check("pixels of 1,000 images", "none published", f"sha256 {dataset.content_hash[:16]}", holds=True)


CONTENT = {
    "color_dsprites_regen": "084ef5d8036397e8b2e21a250c00501ea123b79b47357d143d111b4770440f92",
    "noisy_dsprites_regen": "1f577383a2446730a8e6ea0ea57081af8da550e0121ef02f49b8c35a81825c0c",
}

_BASES = (prepared_entry(RECIPE, _checks), dsprites_regen.DATASETS["dsprites_regen"])
_VARIANTS = (
    ("color", "the sprite in a random colour", lambda _: _paint_color),
    ("noisy", "the sprite on random noise", lambda _: _paint_noisy),
    (
        "scream",
        "the sprite on tinted crops of The Scream, a picture to be downloaded",
        lambda data_dir: _paint_scream(_open_scream(data_dir)),
    ),
)

DATASETS = {SPEC.name: _BASES[0]} | {
    entry.spec.name: entry for entry in (_variant(base, *variant) for base in _BASES for variant in _VARIANTS)
}
