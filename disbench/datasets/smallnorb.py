"""smallnorb, smallnorb@factors5, smallnorb@train, smallnorb@test: SmallNORB (LeCun, Huang and Bottou 2004).

48,600 grey photographs of 50 toys in 5 categories, 96 x 96 pixels there and 64 x 64 here, from the six published binary
matrices, packed or not. Each toy was seen by two cameras; camera 0 is used. Rows of the files come in no order: each is
put where its labels say. Four conventions are in use:

- `smallnorb`, as in disentanglement_lib: both splits, factors category, elevation, azimuth, lighting; the ten toys of a
  category are hidden, and a toy is drawn at random for each image asked for. LANCZOS.
- `smallnorb@factors5`, as in disentangling-correlated-factors: both splits, the toy is the factor `instance`. Bilinear.
- `smallnorb@train` and `smallnorb@test`, as in disent: one split with its five toys of a category, numbered 0 ... 4 in
  the order of their numbers (4, 6, 7, 8, 9 and 0, 1, 2, 3, 5). Bilinear.

Known defects: scores under different conventions are not comparable, though all are called SmallNORB in papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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

HOMEPAGE = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
SOURCE_SIDE = 96
N_CAMERAS = 2
_TYPES = {0x1E3D4C55: "<u1", 0x1E3D4C54: "<i4", 0x1E3D4C56: "<i2", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
_MAX_DIMENSIONS = 8
_INFO = ("instance", "elevation", "azimuth", "lighting")  # columns of the info file


@dataclass(frozen=True)
class Split:
    """One half of the data: three files, and the toys that are in it."""

    name: str
    instances: tuple[int, ...]
    dat: SourceFile
    cat: SourceFile
    info: SourceFile

    def files(self, is_packed: bool) -> tuple[SourceFile, ...]:
        """The split's files as published, or unpacked."""
        return tuple(file if is_packed else _unpacked(file) for file in (self.dat, self.cat, self.info))


_UNPACKED_MD5 = {
    "smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat": "8138a0902307b32dfa0025a36dfa45ec",
    "smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat": "fd5120d3f770ad57ebe620eb61a0b633",
    "smallnorb-5x46789x9x18x6x2x96x96-training-info.mat": "19faee774120001fc7e17980d6960451",
    "smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat": "e9920b7f7b2869a8f1a12e945b2c166c",
    "smallnorb-5x01235x9x18x6x2x96x96-testing-cat.mat": "fd5120d3f770ad57ebe620eb61a0b633",
    "smallnorb-5x01235x9x18x6x2x96x96-testing-info.mat": "7c5b871cc69dcadec1bf6a18141f5edc",
}


def _packed(name: str, size: int, sha256: str, md5: str) -> SourceFile:
    return SourceFile(f"smallnorb-{name}.mat.gz", (f"{HOMEPAGE}smallnorb-{name}.mat.gz",), size, sha256, md5)


def _unpacked(file: SourceFile) -> SourceFile:
    name = file.name.removesuffix(".gz")
    return SourceFile(name, md5=_UNPACKED_MD5[name])


TRAINING = Split(
    "training",
    (4, 6, 7, 8, 9),
    dat=_packed(
        "5x46789x9x18x6x2x96x96-training-dat",
        131_896_188,
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
        "66054832f9accfe74a0f4c36a75bc0a2",
    ),
    cat=_packed(
        "5x46789x9x18x6x2x96x96-training-cat",
        348,
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
        "23c8b86101fbf0904a000b43d3ed2fd9",
    ),
    info=_packed(
        "5x46789x9x18x6x2x96x96-training-info",
        71_052,
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
        "51dee1210a742582ff607dfd94e332e3",
    ),
)
TESTING = Split(
    "testing",
    (0, 1, 2, 3, 5),
    dat=_packed(
        "5x01235x9x18x6x2x96x96-testing-dat",
        130_799_817,
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
        "e4ad715691ed5a3a5f138751a4ceb071",
    ),
    cat=_packed(
        "5x01235x9x18x6x2x96x96-testing-cat",
        347,
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
        "5aa791cd7e6016cf957ce9bdb93b8603",
    ),
    info=_packed(
        "5x01235x9x18x6x2x96x96-testing-info",
        10_428,
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
        "a9454f3864d7fd4bb3ea7fc3eb84924e",
    ),
)
SPLITS = (TRAINING, TESTING)


def _read(paths: Mapping[str, Path], spec: DatasetSpec, splits: Sequence[Split], is_packed: bool, rule: str) -> Slabs:
    side = spec.image_shape[0]
    n_rows = spec.n_images // len(splits)
    where = [[paths[file.name] for file in split.files(is_packed)] for split in splits]
    instances = sorted(instance for split in splits for instance in split.instances)
    places = [
        _places(cat, info, split, instances, n_rows, spec) for split, (_, cat, info) in zip(splits, where, strict=True)
    ]
    _check_complete(np.concatenate(places), where[0][2].parent, spec)
    images = np.empty((spec.n_images, *spec.image_shape), np.uint8)
    for (dat, _, _), of_rows in zip(where, places, strict=True):
        start = 0
        for rows in _slabs(dat, (n_rows, N_CAMERAS, SOURCE_SIDE, SOURCE_SIDE), "uint8"):
            camera_0 = rows[:, 0, :, :, None]
            images[of_rows[start : start + len(rows)]] = resizing.resize(camera_0, side, rule)
            start += len(rows)
    yield images


def _numbering(spec: DatasetSpec) -> dict[str, int]:
    """Factors by name with their sizes, slowest first, as images are numbered: a hidden instance is the slowest."""
    sizes = dict(zip(spec.space.names, spec.space.sizes, strict=True))
    return sizes if "instance" in sizes else {"instance": spec.n_hidden} | sizes


def _places(
    cat: Path, info: Path, split: Split, instances: Sequence[int], n_rows: int, spec: DatasetSpec
) -> np.ndarray:
    """int64 (n_rows,): the number of the image that each row of a split is."""
    described = np.concatenate([*_slabs(info, (n_rows, len(_INFO)), "int32")])
    labels = dict(zip(_INFO, described.T, strict=True)) | {
        "category": np.concatenate([*_slabs(cat, (n_rows,), "int32")])
    }
    _check_split(info, labels["instance"], split)
    odd = np.flatnonzero(labels["azimuth"] % 2)
    if len(odd):
        raise DisbenchError(
            f"{info}: the azimuth of row {odd[0]} is {labels['azimuth'][odd[0]]}; expected an even one. It is "
            "damaged; fetch it again."
        )
    labels["azimuth"] = labels["azimuth"] // 2
    labels["instance"] = np.searchsorted(instances, labels["instance"])
    sizes = _numbering(spec)
    for name, size in sizes.items():
        wrong = np.flatnonzero((labels[name] < 0) | (labels[name] >= size))
        if len(wrong):
            path = cat if name == "category" else info
            raise DisbenchError(
                f"{path}: the class of {name} in row {wrong[0]} is {labels[name][wrong[0]]}; expected 0 ... {size - 1}."
                " It is damaged; fetch it again."
            )
    return np.ravel_multi_index(tuple(labels[name] for name in sizes), tuple(sizes.values()))


def _check_split(path: Path, found: np.ndarray, split: Split) -> None:
    """Check that rows show the toys of the split."""
    foreign = np.flatnonzero(~np.isin(found, split.instances))
    if not len(foreign):
        return
    for other in SPLITS:
        if other is not split and np.isin(found, other.instances).all():
            raise DisbenchError(
                f"{path}: these rows are of the {other.name} split; expected the {split.name} split, whose instances "
                f"are {', '.join(map(str, split.instances))}."
            )
    raise DisbenchError(
        f"{path}: the instance of row {foreign[0]} is {found[foreign[0]]}; those of the {split.name} split are "
        f"{', '.join(map(str, split.instances))}. It is damaged; fetch it again."
    )


def _check_complete(places: np.ndarray, folder: Path, spec: DatasetSpec) -> None:
    """Check that every image is there exactly once."""
    counts = np.bincount(places, minlength=spec.n_images)
    wrong = np.flatnonzero(counts != 1)
    if len(wrong):
        sizes = _numbering(spec)
        classes = np.unravel_index(wrong[0], tuple(sizes.values()))
        named = ", ".join(f"{name} {value}" for name, value in zip(sizes, classes, strict=True))
        raise DisbenchError(
            f"the files in {folder} hold {counts[wrong[0]]} images of {named} (classes counted from 0); expected "
            "exactly one of each combination. Images and labels do not belong together."
        )


def _slabs(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.ndarray]:
    """Rows of a binary matrix, some at a time.

    It is a little-endian magic number for the type, the number of dimensions, that many dimensions (but at least
    three), and the numbers in C order.
    """
    expected = np.dtype(dtype)
    row_bytes = expected.itemsize * math.prod(shape[1:])
    n_each = max(1, arrays.SLAB // row_bytes)
    header = 8 + 4 * max(3, len(shape))
    limit = header + shape[0] * row_bytes
    with archives.gunzipped(path, limit) as file, archives.reading(path, "a binary matrix of NORB"):
        magic, n_dimensions = np.frombuffer(archives.read_exactly(file, 8), "<i4").tolist()
        if magic not in _TYPES or not 0 <= n_dimensions <= _MAX_DIMENSIONS:
            raise DisbenchError(f"{path} is no binary matrix of NORB: it begins with {magic:#x}, {n_dimensions}.")
        dimensions = np.frombuffer(archives.read_exactly(file, 4 * max(3, n_dimensions)), "<i4")[:n_dimensions].tolist()
        arrays.check_shape(str(path), dimensions, np.dtype(_TYPES[magic]), shape, (expected.name,))
        for start in range(0, shape[0], n_each):
            some = min(n_each, shape[0] - start)
            numbers = np.frombuffer(archives.read_exactly(file, some * row_bytes), _TYPES[magic])
            yield numbers.reshape(some, *shape[1:])
        file.read(1)  # the end: here the checksum is tried


_FACTORS = (
    Factor("category", 5, "categorical"),
    Factor("instance", 10, "categorical"),
    Factor("elevation", 9, "ordinal"),
    Factor("azimuth", 18, "circular"),
    Factor("lighting", 6, "categorical"),
)


def _recipe(
    name: str,
    summary: str,
    splits: tuple[Split, ...],
    rule: str,
    hides_instance: bool = False,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> Recipe:
    n_instances = sum(len(split.instances) for split in splits)
    factors = [
        Factor(factor.name, n_instances if factor.name == "instance" else factor.size, factor.kind)
        for factor in _FACTORS
        if factor.name != "instance" or not hides_instance
    ]
    spec = DatasetSpec(
        name=name,
        summary=f"SmallNORB: grey photographs of toys, {summary}",
        space=FactorSpace(tuple(factors)),
        image_shape=(64, 64, 1),
        licence="for research only, not to be sold",
        citation=(
            "@inproceedings{lecun2004learning, title={Learning Methods for Generic Object Recognition with Invariance "
            "to Pose and Lighting}, author={LeCun, Yann and Huang, Fu Jie and Bottou, L{\\'e}on}, booktitle={CVPR}, "
            "year={2004}}"
        ),
        homepage=HOMEPAGE,
        known_defects=(
            f"several conventions go by the name SmallNORB (splits, factors, resizing); scores on {name} are not "
            "comparable with those on the others",
            "only camera 0 of the two is used",
        ),
        n_hidden=n_instances if hides_instance else 1,
    )
    sources = tuple(
        Source(
            tuple(file for split in splits for file in split.files(is_packed)),
            partial(_read, splits=splits, is_packed=is_packed, rule=rule),
        )
        for is_packed in (True, False)
    )
    return Recipe(spec, sources, resize=resizing.RULES[rule], mean=mean, std=std)


MERGED = _recipe(
    "smallnorb", "48,600 images, 4 factors and a hidden toy (as disentanglement_lib)", SPLITS, "lanczos", True
)
FACTORS5 = _recipe(
    "smallnorb@factors5", "48,600 images, 5 factors (as disentangling-correlated-factors)", SPLITS, "bilinear"
)
TRAIN = _recipe(
    "smallnorb@train",
    "24,300 images of the training split, 5 factors (as disent)",
    (TRAINING,),
    "bilinear",
    mean=(0.7520918401088603,),
    std=(0.09563879016827262,),
)
TEST = _recipe("smallnorb@test", "24,300 images of the testing split, 5 factors (as disent)", (TESTING,), "bilinear")

RECIPES = (MERGED, FACTORS5, TRAIN, TEST)
DATASETS = {recipe.spec.name: prepared_entry(recipe) for recipe in RECIPES}
