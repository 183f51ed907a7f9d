"""Cars3D from miniatures of its archive and of the unpacked folder: MATLAB files with the true axes, fewer views."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from disbench.datasets import cars3d
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe
from disbench.errors import DisbenchError, UsageError
from disbench.testing import check_dataset
from tests.datasets.miniatures import picture, recipe_for, smaller

N_ELEVATIONS, N_AZIMUTHS, N_CARS = SIZES = (2, 3, 4)
LISTED = ["car_020_mesh", "car_003_mesh", "car_111_mesh", "car_007_mesh"]  # not by alphabet
IN_ARCHIVE = ["car_111_mesh", "car_020_mesh", "car_007_mesh", "car_003_mesh"]  # neither


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)


def shown(elevation: int, azimuth: int, car: int) -> np.ndarray:
    """uint8 (128, 128, 3): the picture with this place in the grid, written out."""
    return picture((elevation * N_AZIMUTHS + azimuth) * N_CARS + car, (128, 128, 3))


def mat(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=True)
    return file.getvalue()


def car_file(car: int) -> bytes:
    """im (height, width, channel, azimuth, elevation) and mask, as published."""
    views = [np.stack([shown(e, a, car) for a in range(N_AZIMUTHS)], axis=-1) for e in range(N_ELEVATIONS)]
    return mat(im=np.stack(views, axis=-1), mask=np.ones((128, 128, N_AZIMUTHS, N_ELEVATIONS), np.uint8))


CARS = {name: car_file(number) for number, name in enumerate(LISTED)}
LIST = b"\r\n".join(name.encode() for name in LISTED) + b"\r\n\r\n"


def archive(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files, in their order, in a packed tar with the rest that is in the published one."""
    path = folder / "nips2015-analogy-data.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as packed:
        for folder_name in ("data", "data/cars"):
            entry = tarfile.TarInfo(folder_name)
            entry.type = tarfile.DIRTYPE
            packed.addfile(entry)
        others = {"data/shapes48.mat": b"shapes", "data/sprites/car_001_mesh.mat": b"not a car"}
        others["data/cars/._car_003_mesh.mat"] = b"what macOS leaves beside files"
        for name, content in [*others.items(), *((f"data/cars/{name}", content) for name, content in files.items())]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


def usual(**changed: bytes) -> dict[str, bytes]:
    return {f"{name}.mat": CARS[name] for name in IN_ARCHIVE} | {"list.txt": LIST} | changed


def recipe(of: Recipe = cars3d.LANCZOS, folder: Path | None = None) -> Recipe:
    return recipe_for(of, smaller(of.spec, SIZES), folder)


def opened(of: Recipe, source: Path) -> Prepared:
    prepare(of, source=source, progress=False)
    return open_prepared(of)


def check_images(dataset: Prepared, rule: str) -> None:
    space = dataset.spec.space
    assert space.names == ("elevation", "azimuth", "object_type")
    for index in range(len(space)):
        elevation, azimuth, car = space.values(torch.tensor(index)).tolist()
        expected = Image.fromarray(shown(elevation, azimuth, car))
        if rule == "lanczos":
            expected.thumbnail((64, 64), Image.Resampling.LANCZOS)
        else:
            expected = expected.resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(dataset.images(torch.tensor([index]))[0].numpy(), np.asarray(expected))


@pytest.mark.parametrize(("of", "rule"), [(cars3d.LANCZOS, "lanczos"), (cars3d.BILINEAR, "bilinear")])
def test_image_i_has_the_factors_of_index_i(tmp_path: Path, of: Recipe, rule: str) -> None:
    archive(tmp_path, usual())
    dataset = opened(recipe(of, tmp_path), tmp_path)
    check_dataset(dataset)
    check_images(dataset, rule)
    assert dataset.spec.space.index(torch.tensor([1, 2, 3])).item() == (1 * 3 + 2) * 4 + 3
    assert dataset.notes["recipe"]["resize"].startswith(f"PIL {rule.upper()}")


def test_the_list_may_come_first(tmp_path: Path) -> None:
    files = {"list.txt": "\n".join(LISTED).encode()} | {f"{name}.mat": CARS[name] for name in IN_ARCHIVE}
    check_images(opened(recipe(), archive(tmp_path, files)), "lanczos")


@pytest.mark.parametrize("named", ["cars", "my cars", ""])
def test_an_unpacked_folder(tmp_path: Path, named: str) -> None:
    folder = tmp_path / "data" / (named or "cars")
    folder.mkdir(parents=True)
    for name, content in usual().items():
        (folder / name).write_bytes(content)
    (folder / "._car_003_mesh.mat").write_bytes(b"what macOS leaves beside files")
    check_images(opened(recipe(), folder if named else folder.parent), "lanczos")


@pytest.mark.parametrize("of", cars3d.RECIPES)
def test_the_published_sizes(of: Recipe) -> None:
    assert of.spec.space.sizes == (4, 24, 183)
    assert of.spec.n_images == 17_568
    assert cars3d.DATASETS[of.spec.name].recipe is of


def refused(tmp_path: Path, files: Mapping[str, bytes], message: str) -> None:
    with pytest.raises(DisbenchError, match=message):
        opened(recipe(), archive(tmp_path, files))
    assert not any((tmp_path / "cache" / "prepared").glob("cars3d*/"))


def test_cars_and_list_must_agree(tmp_path: Path) -> None:
    lacking = usual()
    del lacking["car_020_mesh.mat"]
    refused(tmp_path, lacking, "lacks car_020_mesh.mat, named by its list.txt")
    extra = {"car_500_mesh.mat": CARS[LISTED[0]], **usual()}
    refused(tmp_path, extra, "holds car_500_mesh.mat, which its list.txt does not name; expected 4 cars")
    short = usual(**{"list.txt": "\n".join(LISTED[:3]).encode()})
    refused(tmp_path, short, "list.txt names 3 cars, 3 of them different; expected 4")
    twice = usual(**{"list.txt": "\n".join([*LISTED[:3], LISTED[0]]).encode()})
    refused(tmp_path, twice, "list.txt names 4 cars, 3 of them different; expected 4")
    unlisted = usual()
    del unlisted["list.txt"]
    refused(tmp_path, unlisted, "holds no list.txt")
    refused(tmp_path, usual(**{"list.txt": b"\xff\xfe\x00"}), "list.txt cannot be read as a list of names")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            mat(im=np.zeros((128, 128, 3, 2, 3), np.uint8)),
            r"im is uint8 \(128, 128, 3, 2, 3\); expected uint8 \(128, 12",
        ),
        (mat(im=np.zeros((128, 128, 3, 3, 2))), r"im is double \(128, 128, 3, 3, 2\); expected uint8"),
        (mat(mask=np.zeros((128, 128, 3, 2), np.uint8)), "im is missing; expected uint8"),
        (
            CARS[LISTED[0]][:-1000],
            "car_007_mesh.mat cannot be read as a MATLAB file: the data ends [0-9]+ bytes too early",
        ),
        (CARS[LISTED[0]][:124] + b"\x00\x02IM" + bytes(400), "is a MATLAB 7.3 file"),
        (b"car", "is no file of MATLAB 5 to 7"),
        (
            mat(im=np.zeros((128, 128, 3, 3, 2), np.uint8), more=np.zeros(65 << 20, np.uint8)),
            "unpacks to more than 67,1",
        ),
    ],
    ids=["axes swapped", "floats", "no images", "cut off", "version 7.3", "text", "bomb"],
)
def test_wrong_matlab_files(tmp_path: Path, content: bytes, message: str) -> None:
    refused(tmp_path, usual(**{"car_007_mesh.mat": content}), message)


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, usual())
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(DisbenchError, match=r"nips2015-analogy-data\.tar\.gz cannot be read as a .*fetch it again"):
        opened(recipe(), path)


def test_another_file_under_the_published_name_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, usual())
    with pytest.raises(DisbenchError, match=r"is not nips2015-analogy-data\.tar\.gz as it was published"):
        prepare(cars3d.LANCZOS, source=path, progress=False)


def test_a_folder_without_cars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DisbenchError, match=r"holds no list\.txt"):
        opened(recipe(), tmp_path)
    with pytest.raises(UsageError, match="there is nothing at"):
        opened(recipe(), tmp_path / "nowhere")
