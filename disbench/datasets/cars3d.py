"""cars3d, cars3d@bilinear: Cars3D (Reed et al. 2015), from the published archive or its unpacked folder.

183 cars seen from 24 directions and 4 heights, 17,568 images, 128 x 128 pixels there and 64 x 64 here. Each car is a
MATLAB file with an array `im` of (height, width, channel, azimuth, elevation); here the car is the fastest factor. Cars
are numbered as list.txt lists them, whatever the order in the archive.

`cars3d` is resized as disentanglement_lib and the papers on diffusion models do it (LANCZOS), `cars3d@bilinear` as
disent and disentangling-correlated-factors do.

Known defects: pixels depend on how images were resized, so scores on the two are not comparable. disentanglement_lib
and DisDiff number the cars in the order in which the operating system lists the files, which differs between machines.
Steps of azimuth are believed to be 15 degrees.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from disbench import archives, arrays
from disbench.datasets import _resize as resizing
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace

SOURCE_SIDE = 128
_ARCHIVE_LIMIT = 16_000_000_000  # bytes; other data is in there, too
_FILE_LIMIT = 64 << 20  # bytes of a MATLAB file, and of what is packed in it
_MATLAB_HEADER = 128
_MATLAB_COMPRESSED = 15  # type of an element
_MEMBER = re.compile(r"(?:.*/)?cars/(list\.txt|[^./][^/]*\.mat)")

ARCHIVE = SourceFile(
    "nips2015-analogy-data.tar.gz",
    urls=("http://www.scottreed.info/files/nips2015-analogy-data.tar.gz",),
    md5="4e866a7919c1beedf53964e6f7a23686",
    about=300_000_000,
)
FOLDER = SourceFile("cars", is_folder=True)


def _spec(name: str, resized: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=f"Cars3D: 183 cars from all sides, 17,568 images, 3 factors, {resized}",
        space=FactorSpace(
            (
                Factor("elevation", 4, "ordinal"),
                Factor("azimuth", 24, "circular"),
                Factor("object_type", 183, "categorical"),
            )
        ),
        image_shape=(64, 64, 3),
        licence="no statement of its authors is known",
        citation=(
            "@inproceedings{reed2015deep, title={Deep Visual Analogy-Making}, author={Reed, Scott E. and Zhang, Yi and "
            "Zhang, Yuting and Lee, Honglak}, booktitle={NIPS}, year={2015}}"
        ),
        homepage="http://www.scottreed.info",
        known_defects=(
            f"pixels depend on how images were brought from 128 to 64: here {resized}; other rules give other scores",
            "cars are numbered as in list.txt; disentanglement_lib and DisDiff number them as the operating system "
            "lists the files, which differs between machines",
            "steps of azimuth are believed to be 15 degrees",
        ),
    )


def _read_archive(paths: Mapping[str, Path], spec: DatasetSpec, rule: str) -> Slabs:
    path = paths[ARCHIVE.name]
    members = archives.tar_members(path, lambda name: bool(_MEMBER.fullmatch(name)), _ARCHIVE_LIMIT, _FILE_LIMIT)
    yield from _arranged(path, ((name.rsplit("/", 1)[-1], file.read()) for name, file in members), spec, rule)


def _read_folder(paths: Mapping[str, Path], spec: DatasetSpec, rule: str) -> Slabs:
    folder = paths[FOLDER.name]
    yield from _arranged(folder, _files_of(folder), spec, rule)


def _files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted([*folder.glob("list.txt"), *folder.glob("[!.]*.mat")]):
        if path.stat().st_size > _FILE_LIMIT:
            raise DisbenchError(f"{path} has {path.stat().st_size:,} bytes; expected at most {_FILE_LIMIT:,}.")
        with archives.reading(path, "a file"):
            content = path.read_bytes()
        yield path.name, content


def _arranged(path: Path, files: Iterator[tuple[str, bytes]], spec: DatasetSpec, rule: str) -> Slabs:
    """All images in index order; `files` are list.txt and the cars' files, in any order."""
    n_elevations, n_azimuths, n_cars = spec.space.sizes
    listed: list[str] | None = None
    views: dict[str, np.ndarray] = {}  # of each car: (elevation, azimuth, h, w, c)
    there: set[str] = set()
    for name, content in files:
        if name in there:
            raise DisbenchError(f"{path} holds {name} twice; it is not the archive as it was published.")
        there.add(name)
        if name == "list.txt":
            listed = _listed(path, content, n_cars)
        elif len(views) < n_cars:  # what goes beyond is only named, below
            views[name] = _views(path / name, content, spec, rule)
    if listed is None:
        raise DisbenchError(f"{path} holds no list.txt of the folder cars, which says how the cars are numbered.")
    if missing := sorted(set(listed) - there):
        raise DisbenchError(
            f"{path} lacks {_some(missing)}, named by its list.txt; it is cut off or incomplete, fetch it again."
        )
    if extra := sorted(there - {"list.txt", *listed}):
        raise DisbenchError(f"{path} holds {_some(extra)}, which its list.txt does not name; expected {n_cars} cars.")
    for elevation in range(n_elevations):
        for azimuth in range(n_azimuths):
            yield np.stack([views[name][elevation, azimuth] for name in listed])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _listed(path: Path, content: bytes, n_cars: int) -> list[str]:
    """Names of the cars' files in the order of list.txt."""
    with archives.reading(path / "list.txt", "a list of names"):
        lines = content.decode("utf-8-sig").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != n_cars or len(set(names)) != n_cars:
        raise DisbenchError(
            f"{path}: list.txt names {len(names)} cars, {len(set(names))} of them different; expected {n_cars} "
            "different ones, one a line."
        )
    return [f"{name}.mat" for name in names]


def _views(path: Path, content: bytes, spec: DatasetSpec, rule: str) -> np.ndarray:
    """uint8 (elevation, azimuth, h, w, c): what a car's file shows, resized."""
    from scipy.io import loadmat, whosmat

    _check_matlab(path, content)
    n_elevations, n_azimuths, _ = spec.space.sizes
    side, _, n_channels = spec.image_shape
    expected = (SOURCE_SIDE, SOURCE_SIDE, n_channels, n_azimuths, n_elevations)
    with archives.reading(path, "a MATLAB file"):
        found = [(shape, kind) for name, shape, kind in whosmat(io.BytesIO(content)) if name == "im"]
        if found != [(expected, "uint8")]:
            what = " and ".join(f"{kind} {shape}" for shape, kind in found) or "missing"
            raise DisbenchError(f"{path}: the array im is {what}; expected uint8 {expected}.")
        images = loadmat(io.BytesIO(content), variable_names=["im"])["im"]
    arrays.check_shape(f"{path}: im", images.shape, images.dtype, expected, ("uint8",))
    pictures = images.transpose(4, 3, 0, 1, 2).reshape(-1, SOURCE_SIDE, SOURCE_SIDE, n_channels)
    return resizing.resize(pictures, side, rule).reshape(n_elevations, n_azimuths, side, side, n_channels)


def _check_matlab(path: Path, content: bytes) -> None:
    """Check that a file is of MATLAB 5 ... 7 and unpacks to no more than it should, before anything else reads it."""
    endian = {b"IM": "<", b"MI": ">"}.get(content[126:_MATLAB_HEADER])
    version = struct.unpack(f"{endian}H", content[124:126])[0] if endian else None
    if version == 0x0200:
        raise DisbenchError(f"{path} is a MATLAB 7.3 file (HDF5); expected one of MATLAB 5 to 7, as it was published.")
    if version != 0x0100:
        raise DisbenchError(f"{path} is no file of MATLAB 5 to 7; fetch it again.")
    left, start = _FILE_LIMIT, _MATLAB_HEADER
    with archives.reading(path, "a MATLAB file"):
        while start < len(content):
            if start + 8 > len(content):
                raise EOFError("the data ends within an element's tag")
            kind, size = struct.unpack_from(f"{endian}II", content, start)
            start += 8
            if start + size > len(content):
                raise EOFError(f"the data ends {start + size - len(content):,} bytes too early")
            if kind == _MATLAB_COMPRESSED:
                left -= archives.unpacked_size(content[start : start + size], left)
            if left < 0:
                raise DisbenchError(f"{path} unpacks to more than {_FILE_LIMIT:,} bytes; refused.")
            start += size


def _recipe(name: str, rule: str, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> Recipe:
    return Recipe(
        spec=_spec(name, f"resized with {rule.upper() if rule == 'lanczos' else rule}"),
        sources=(
            Source((ARCHIVE,), partial(_read_archive, rule=rule)),
            Source((FOLDER,), partial(_read_folder, rule=rule)),
        ),
        resize=resizing.RULES[rule],
        mean=mean,
        std=std,
    )


LANCZOS = _recipe("cars3d", "lanczos")
BILINEAR = _recipe(
    "cars3d@bilinear",
    "bilinear",
    mean=(0.8976676149976628, 0.8891658020067508, 0.885147515814868),
    std=(0.22503195531503034, 0.2399461278981261, 0.24792106319684404),
)

RECIPES = (LANCZOS, BILINEAR)
DATASETS = {recipe.spec.name: prepared_entry(recipe) for recipe in RECIPES}
