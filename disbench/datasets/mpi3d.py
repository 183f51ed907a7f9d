"""mpi3d_toy, mpi3d_realistic, mpi3d_real, mpi3d_real_complex: MPI3D (Gondal et al. 2019), from the published npz files.

Pictures of an object on a robot's arm: drawn simply (toy), drawn with a renderer (realistic) and photographed (real),
1,036,800 each in the order of their factors; and photographs of everyday objects (real_complex), 460,800. A file holds
one array, `images`, which is read as a stream whether it is stored or deflated: whole it would take 12.7 GB.

Known defects: the published hashes are those of older copies, so that shape and mean colours decide on others. The toy
file that disentanglement_lib's script fetches has the sizes 4, 4, 2, 3, 3, 40, 40 and is another data set. Of
real_complex neither a hash nor statistics are published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from disbench import arrays
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace

TOY_OF_DISENTANGLEMENT_LIB = "sim_toy_64x_ordered_without_heldout_factors.npz"
_FILES_BY_COLOURS = {  # number of colours, which is that of shapes, too -> what has as many
    4: "the toy file that disentanglement_lib's script fetches, or mpi3d_real_complex",
    6: "mpi3d_toy, mpi3d_realistic or mpi3d_real",
}
_OTHER_TOY = (
    "the toy file that disentanglement_lib's script fetches has the sizes 4, 4, 2, 3, 3, 40, 40: scores on it are "
    "those of another data set"
)


def _spec(name: str, summary: str, n_objects: int, known_defects: tuple[str, ...] = ()) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        space=FactorSpace(
            (
                Factor("object_color", n_objects, "categorical"),
                Factor("object_shape", n_objects, "categorical"),
                Factor("object_size", 2, "ordinal"),
                Factor("camera_height", 3, "ordinal"),
                Factor("background_color", 3, "categorical"),
                Factor("horizontal_axis", 40, "ordinal"),
                Factor("vertical_axis", 40, "ordinal"),
            )
        ),
        image_shape=(64, 64, 3),
        licence="CC BY 4.0",
        citation=(
            "@inproceedings{gondal2019transfer, title={On the Transfer of Inductive Bias from Simulation to the Real "
            'World: a New Disentanglement Dataset}, author={Gondal, Muhammad Waleed and W{\\"u}thrich, Manuel and '
            "Miladinovi{\\'c}, {\\DJ}or{\\dj}e and Locatello, Francesco and Breidt, Martin and Volchkov, Valentin and "
            'Akpo, Joel and Bachem, Olivier and Sch{\\"o}lkopf, Bernhard and Bauer, Stefan}, booktitle={NeurIPS}, '
            "year={2019}}"
        ),
        homepage="https://github.com/rr-learning/disentanglement_dataset",
        known_defects=known_defects,
    )


def _read(paths: Mapping[str, Path], spec: DatasetSpec, name: str) -> Slabs:
    path = paths[name]
    if path.name == TOY_OF_DISENTANGLEMENT_LIB:
        raise DisbenchError(
            f"{path} is by its name the toy file that disentanglement_lib's script fetches, not {spec.name}; fetch "
            f"{name} from {spec.homepage}."
        )
    stream = arrays.npz_array(path, "images", (None, *spec.image_shape), ("uint8",))
    _check_rows(path, stream.shape[0], spec)
    yield from stream.slabs()


def _check_rows(path: Path, n_images: int, spec: DatasetSpec) -> None:
    if n_images == len(spec.space):
        return
    others = spec.space.sizes[2:]
    for n, what in _FILES_BY_COLOURS.items():
        if n_images == n * n * math.prod(others):
            sizes = ", ".join(map(str, (n, n, *others)))
            raise DisbenchError(
                f"{path} has {n_images:,} images, so it is a file with the sizes {sizes} ({what}) and not {spec.name}, "
                f"which has {len(spec.space):,}. Fetch {spec.name} from {spec.homepage}."
            )
    raise DisbenchError(
        f"{path}: images has shape ({n_images}, {', '.join(map(str, spec.image_shape))}); expected "
        f"({len(spec.space)}, {', '.join(map(str, spec.image_shape))}), one image for each combination of the factors."
    )


def _published(name: str, md5: str) -> Source:
    file_name = f"{name}.npz"
    urls = (
        f"https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main/{file_name}",
        f"https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/{file_name}",
    )
    return Source(
        (SourceFile(file_name, urls=urls, about=12_740_000_000, md5=md5, has_copies=True),),
        partial(_read, name=file_name),
    )


TOY = Recipe(
    spec=_spec("mpi3d_toy", "MPI3D, simply drawn: a robot's arm, 1,036,800 images, 7 factors", 6, (_OTHER_TOY,)),
    sources=(_published("mpi3d_toy", "55889cb7c7dfc655d6e0277beee88868"),),
    mean=(0.22437325567325045, 0.22141877351640138, 0.22625457849943273),
    std=(0.0690013611690731, 0.06343387069571882, 0.07607519758722009),
)
REALISTIC = Recipe(
    spec=_spec("mpi3d_realistic", "MPI3D, rendered: a robot's arm, 1,036,800 images, 7 factors", 6),
    sources=(_published("mpi3d_realistic", "59a6225b88b635365f70c91b3e52f70f"),),
    mean=(0.17986945797157425, 0.20474678611954758, 0.18148154235228137),
    std=(0.08746476487506775, 0.09330995331830938, 0.09242232801328121),
)
REAL = Recipe(
    spec=_spec("mpi3d_real", "MPI3D, photographed: a robot's arm, 1,036,800 images, 7 factors", 6),
    sources=(_published("mpi3d_real", "0f33f609918fb5c97996692f91129802"),),
    mean=(0.12848577057593918, 0.1648033279246875, 0.13971583058948006),
    std=(0.09329210572942123, 0.09203401520672466, 0.10322983729706256),
)
COMPLEX_FILE = SourceFile(
    "real3d_complicated_shapes_ordered.npz",
    page="https://drive.google.com/file/d/1Tp8eTdHxgUMtsZv5uAoYAbJR1BOa_OQm",
)
REAL_COMPLEX = Recipe(
    spec=_spec(
        "mpi3d_real_complex",
        "MPI3D, everyday objects photographed: a robot's arm, 460,800 images, 7 factors",
        4,
        (
            "neither a hash nor statistics of its file are published: only its shape can be checked",
            "the toy file that disentanglement_lib's script fetches has the same shape and must not be taken for it",
        ),
    ),
    sources=(Source((COMPLEX_FILE,), partial(_read, name=COMPLEX_FILE.name)),),
)

RECIPES = (TOY, REALISTIC, REAL, REAL_COMPLEX)
DATASETS = {recipe.spec.name: prepared_entry(recipe) for recipe in RECIPES}
ALIASES = {"mpi3d": TOY.spec.name}
