"""shapes3d: 3D Shapes (Burgess and Kim 2018), from the published HDF5 file.

480,000 images of a room with an object in it, in the order of their factors. The file's labels are values (hues 0 ...
.9, scale .75 ... 1.25, shape 0 ... 3, orientation -30 ... 30 degrees); they are compared with the index row by row.
Its images are packed in chunks that span thousands of images each: they are read once, in order.

Known defects: an object whose hue is that of the wall or of the floor is nearly invisible.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from disbench import arrays
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace

SPEC = DatasetSpec(
    name="shapes3d",
    summary="3D Shapes: an object in a room, 480,000 images, 6 factors",
    space=FactorSpace(
        (
            Factor("floor_hue", 10, "circular"),
            Factor("wall_hue", 10, "circular"),
            Factor("object_hue", 10, "circular"),
            Factor("scale", 8, "ordinal"),
            Factor("shape", 4, "categorical"),
            Factor("orientation", 15, "ordinal"),
        )
    ),
    image_shape=(64, 64, 3),
    licence="Apache-2.0",
    citation="@misc{3dshapes18, title={3D Shapes Dataset}, author={Burgess, Chris and Kim, Hyunjik}, year={2018}}",
    homepage="https://github.com/google-deepmind/3d-shapes",
    known_defects=("an object whose hue is the wall's or the floor's is nearly invisible",),
)

HDF5 = SourceFile(
    "3dshapes.h5",
    urls=("https://storage.googleapis.com/3d-shapes/3dshapes.h5",),
    size=267_573_662,
    sha256="0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
    md5="099a2078d58cec4daad0702c55d06868",
)
NPZ = SourceFile("3dshapes.npz", has_copies=True)  # home-made, as several projects expect one


def values_of_factors(spec: DatasetSpec) -> list[np.ndarray]:
    """What the labels of the file say for class 0, 1, ... of each factor."""
    hues = [np.arange(factor.size) / 10 for factor in spec.space.factors[:3]]
    n_scales, n_shapes, n_orientations = spec.space.sizes[3:]
    return [*hues, np.linspace(0.75, 1.25, n_scales), np.arange(n_shapes), np.linspace(-30, 30, n_orientations)]


def _read_hdf5(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path = paths[HDF5.name]
    n_images, k = len(spec.space), spec.space.n_factors
    with arrays.open_hdf5(path) as file:
        images = arrays.hdf5_array(path, file, "images", (n_images, *spec.image_shape), ("uint8",))
        labels = arrays.hdf5_array(path, file, "labels", (n_images, k), ("float64", "float32"))
        _check_labels(path, labels[:], spec)
        yield from arrays.hdf5_slabs(images)


def _check_labels(path: Path, labels: np.ndarray, spec: DatasetSpec) -> None:
    classes = np.stack(np.unravel_index(np.arange(len(spec.space)), spec.space.sizes), axis=1)
    for k, values in enumerate(values_of_factors(spec)):
        wrong = np.flatnonzero(~np.isclose(labels[:, k], values[classes[:, k]], rtol=0, atol=1e-3))
        if len(wrong):
            image, expected = wrong[0], values[classes[wrong[0], k]]
            raise DisbenchError(
                f"{path}: the label {spec.space.names[k]} of image {image} is {labels[image, k]:g}; by the order of "
                f"the factors it should be {expected:g}. Images and labels do not belong together."
            )


def _read_npz(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    """One image after another, or, as disentanglement_lib expects it, with an axis for each factor."""
    path = paths[NPZ.name]
    try:
        images = arrays.npz_array(path, "images", (*spec.space.sizes, *spec.image_shape), ("uint8",))
        images.regroup((len(spec.space), *spec.image_shape))
    except DisbenchError:
        images = arrays.npz_array(path, "images", (len(spec.space), *spec.image_shape), ("uint8",))
    yield from images.slabs()


RECIPE = Recipe(
    spec=SPEC,
    sources=(Source((HDF5,), _read_hdf5), Source((NPZ,), _read_npz)),
    mean=(0.502584966788819, 0.5787597566089667, 0.6034499731859578),
    std=(0.2940814043555559, 0.3443979087517214, 0.3661685981524748),
)

DATASETS = {SPEC.name: prepared_entry(RECIPE)}
