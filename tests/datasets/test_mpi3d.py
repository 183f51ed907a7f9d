"""The four sets of MPI3D from miniatures of their npz files, stored and deflated."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.datasets import mpi3d
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe
from disbench.errors import DisbenchError, UsageError
from disbench.testing import check_dataset
from tests.datasets.miniatures import pictures, recipe_for, smaller

OTHER_SIZES = (2, 1, 3, 2, 2)
SPEC = smaller(mpi3d.TOY.spec, (6, 6, *OTHER_SIZES))
N = len(SPEC.space)
COMPLEX = smaller(mpi3d.REAL_COMPLEX.spec, (4, 4, *OTHER_SIZES))
N_COMPLEX = len(COMPLEX.space)
TOY_FILE = "mpi3d_toy.npz"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return pictures(N, SPEC.image_shape)


def opened(recipe: Recipe, source: Path) -> Prepared:
    prepare(recipe, source=source, progress=False)
    return open_prepared(recipe)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_image_i_has_the_factors_of_index_i(tmp_path: Path, images: np.ndarray, save: object) -> None:
    save(tmp_path / TOY_FILE, images=images)  # type: ignore[operator]
    dataset = opened(recipe_for(mpi3d.TOY, SPEC, tmp_path), tmp_path)
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset.images(torch.arange(N)).numpy(), images)
    values = torch.tensor([[5, 1, 1, 0, 2, 1, 0]])  # colour, shape, size, height, background, horizontal, vertical
    number = (((((5 * 6 + 1) * 2 + 1) * 1 + 0) * 3 + 2) * 2 + 1) * 2 + 0
    assert SPEC.space.index(values).tolist() == [number]
    assert dataset.factors(torch.tensor([number])).tolist() == values.tolist()
    np.testing.assert_array_equal(dataset.images(SPEC.space.index(values))[0].numpy(), images[number])


@pytest.mark.parametrize(
    ("recipe", "sizes", "n_images"),
    [
        (mpi3d.TOY, (6, 6, 2, 3, 3, 40, 40), 1_036_800),
        (mpi3d.REALISTIC, (6, 6, 2, 3, 3, 40, 40), 1_036_800),
        (mpi3d.REAL, (6, 6, 2, 3, 3, 40, 40), 1_036_800),
        (mpi3d.REAL_COMPLEX, (4, 4, 2, 3, 3, 40, 40), 460_800),
    ],
)
def test_factors_of_each_set(recipe: Recipe, sizes: tuple[int, ...], n_images: int) -> None:
    names = "object_color object_shape object_size camera_height background_color horizontal_axis vertical_axis"
    assert recipe.spec.space.names == tuple(names.split())
    assert recipe.spec.space.sizes == sizes
    assert recipe.spec.n_images == n_images


def test_each_set_reads_the_file_of_its_own_name(tmp_path: Path, images: np.ndarray) -> None:
    for recipe in mpi3d.RECIPES:
        small = smaller(recipe.spec, (*recipe.spec.space.sizes[:2], *OTHER_SIZES))
        name = recipe.sources[0].files[0].name
        expected = images[: small.n_images][:: (1 if recipe is mpi3d.TOY else -1)]
        np.savez(tmp_path / name, images=expected)
        dataset = opened(recipe_for(recipe, small, tmp_path), tmp_path / name)
        np.testing.assert_array_equal(dataset.images(torch.arange(small.n_images)).numpy(), expected)
        assert mpi3d.DATASETS[recipe.spec.name].recipe is recipe


def test_mpi3d_stands_for_the_toy() -> None:
    assert mpi3d.DATASETS[mpi3d.ALIASES["mpi3d"]].spec.name == "mpi3d_toy"


def test_the_toy_file_of_disentanglement_lib_is_named(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / TOY_FILE, images=images[:N_COMPLEX])
    message = r"sizes 4, 4, 2, 1, 3, 2, 2 \(the toy file that disentanglement_lib's script fetches.*not mpi3d_toy"
    with pytest.raises(DisbenchError, match=message):
        opened(recipe_for(mpi3d.TOY, SPEC), tmp_path)
    assert not any((tmp_path / "cache" / "prepared").glob("mpi3d_toy*/"))


def test_a_large_set_under_the_name_of_the_complex_one_is_named(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / mpi3d.COMPLEX_FILE.name, images=images)
    message = "sizes 6, 6, 2, 1, 3, 2, 2 .mpi3d_toy, mpi3d_realistic or mpi3d_real. and not mpi3d_real_complex"
    with pytest.raises(DisbenchError, match=message):
        opened(recipe_for(mpi3d.REAL_COMPLEX, COMPLEX), tmp_path)


@pytest.mark.parametrize(("recipe", "spec"), [(mpi3d.TOY, SPEC), (mpi3d.REAL_COMPLEX, COMPLEX)])
def test_the_toy_file_is_known_by_its_name(tmp_path: Path, images: np.ndarray, recipe: Recipe, spec: object) -> None:
    path = tmp_path / "sim_toy_64x_ordered_without_heldout_factors.npz"
    np.savez(path, images=images[:N_COMPLEX])  # has the shape of real_complex
    with pytest.raises(DisbenchError, match="by its name the toy file that disentanglement_lib's script fetches"):
        prepare(recipe_for(recipe, spec), source=path, progress=False)  # type: ignore[arg-type]


def test_other_shapes_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    recipe = recipe_for(mpi3d.TOY, SPEC)
    np.savez(tmp_path / TOY_FILE, images=images[:-1])
    with pytest.raises(DisbenchError, match=rf"shape \({N - 1}, 64, 64, 3\); expected \({N}, 64, 64, 3\), one image"):
        opened(recipe, tmp_path)
    np.savez(tmp_path / TOY_FILE, images=images[..., 0])
    with pytest.raises(DisbenchError, match=rf"shape \({N}, 64, 64\).*expected \(any, 64, 64, 3\) and uint8"):
        opened(recipe, tmp_path)
    np.savez(tmp_path / TOY_FILE, images=images[:36].astype(np.float32))
    with pytest.raises(DisbenchError, match=r"type float32; expected.*uint8"):
        opened(recipe, tmp_path)
    np.savez(tmp_path / TOY_FILE, pictures=images)
    with pytest.raises(DisbenchError, match=r"holds no array 'images'; it holds pictures\.npy"):
        opened(recipe, tmp_path)


def test_a_cut_off_file_is_refused(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / "whole.npz", images=images)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / TOY_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(DisbenchError, match=r"cannot be read as a zip file.*fetch it again"):
        opened(recipe_for(mpi3d.TOY, SPEC), tmp_path)


def test_mean_colours_decide_on_a_copy_with_another_hash(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / TOY_FILE, images=images)
    published = mpi3d.TOY.sources[0].files[0]
    assert published.md5 == "55889cb7c7dfc655d6e0277beee88868"
    source = dataclasses.replace(mpi3d.TOY.sources[0], files=(published,))
    right = tuple(images.mean((0, 1, 2)) / 255)
    recipe = dataclasses.replace(recipe_for(mpi3d.TOY, SPEC), sources=(source,), mean=right)
    assert opened(recipe, tmp_path).notes["sources"][0]["verified_by"] == "content"
    with pytest.raises(DisbenchError, match="neither the hash nor the pixels of mpi3d_toy"):
        opened(dataclasses.replace(recipe, mean=mpi3d.TOY.mean), tmp_path)


def test_the_complex_set_is_fetched_by_hand() -> None:
    with pytest.raises(UsageError, match=r"real3d_complicated_shapes_ordered\.npz\n.*drive\.google\.com"):
        prepare(recipe_for(mpi3d.REAL_COMPLEX, COMPLEX), progress=False)
