"""beamsynthesis: BeamSynthesis (Yeats et al. 2022), 360 signals of a simulated particle accelerator, no images.

The published zip holds a .npy file per signal, 1,000 float64 numbers named after duty cycle and frequency
(0.470_20.000.npy), in no particular order. Here they are sorted by the numbers, frequency fastest, and served as
float32 of shape (1000, 1) as they are: nothing is rescaled.

Known defects: there are 360 signals, so that what a metric draws by the thousand are repeats; numbers go up to 1.0402.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from disbench import archives, arrays
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError
from disbench.registry import Check
from disbench.sources import SourceFile
from disbench.types import Dataset, DatasetSpec, Factor, FactorSpace

SPEC = DatasetSpec(
    name="beamsynthesis",
    summary="BeamSynthesis: 360 signals of 1,000 numbers, 2 factors",
    space=FactorSpace((Factor("duty_cycle", 120, "ordinal"), Factor("frequency", 3, "ordinal"))),
    image_shape=(1000, 1),
    licence="MIT",
    citation=(
        "@inproceedings{yeats2022nashae, title={{NashAE}: Disentangling Representations through Adversarial "
        "Covariance Minimization}, author={Yeats, Eric and Liu, Frank and Womble, David and Li, Hai}, "
        "booktitle={ECCV}, year={2022}}"
    ),
    homepage="https://github.com/ericyeats/nashae-beamsynthesis",
    known_defects=(
        "there are only 360 signals: what a metric draws by the thousand are repeats, in test sets, too",
        "values go up to 1.0402: a decoder that ends in a sigmoid cannot reach them",
    ),
    dtype="float32",
)

ZIP = SourceFile(
    "beamsynthesis.zip",
    size=2_654_428,
    sha256="1b6ae30328ac5ef371e1f467257c6443baec7caa584557792db7446c1f6e4d0c",
    page="https://github.com/ericyeats/nashae-beamsynthesis",
)

_MEMBER = re.compile(r"(?:.*/)?(\d+\.\d+)_(\d+\.\d+)\.npy")


def _read(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path = paths[ZIP.name]
    length = spec.image_shape[0]
    with archives.open_zip(path) as archive:
        for name in _members_in_order(path, archive, spec):
            yield (
                arrays.npy_member(path, archive, name, (length,), ("float64",)).astype("float32").reshape(1, length, 1)
            )


def _members_in_order(path: Path, archive: zipfile.ZipFile, spec: DatasetSpec) -> list[str]:
    """Names by duty cycle, then frequency, both as numbers; every pair of the two exactly once."""
    names: dict[tuple[float, ...], str] = {}
    for name in archive.namelist():
        if match := _MEMBER.fullmatch(name):
            factors = tuple(float(number) for number in match.groups())
            if factors in names:
                raise DisbenchError(
                    f"{path} holds the signal {name.rpartition('/')[2]} twice, as {names[factors]} and {name}."
                )
            names[factors] = name
    found = tuple(len(set(values)) for values in zip(*names, strict=True)) or (0, 0)
    if found != spec.space.sizes or len(names) != len(spec.space):
        wanted = " x ".join(map(str, spec.space.sizes))
        raise DisbenchError(
            f"{path} holds {len(names)} signals of {found[0]} duty cycles and {found[1]} frequencies; expected "
            f"{wanted} = {len(spec.space)}, each combination once. Fetch it again."
        )
    return [names[factors] for factors in sorted(names)]


RECIPE = Recipe(SPEC, (Source((ZIP,), _read),))

# Of all signals together, and how far a right file can be from the rounded number.
STATISTICS = (
    ("smallest", 1.9e-6, 5e-8),
    ("largest", 1.0402, 5e-5),
    ("mean", 0.3113, 5e-5),
    ("standard deviation", 0.4166, 5e-5),
)


def _checks(dataset: Dataset) -> list[Check]:
    signals = dataset.images(torch.arange(len(dataset))).double()
    found = (signals.min(), signals.max(), signals.mean(), signals.std())
    return [
        Check(f"{what} of all values", f"{known:g}", f"{value:.5g}", abs(float(value) - known) <= tolerance)
        for (what, known, tolerance), value in zip(STATISTICS, found, strict=True)
    ]


DATASETS = {SPEC.name: prepared_entry(RECIPE, _checks)}
