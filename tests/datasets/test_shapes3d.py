"""shapes3d from miniatures of its HDF5 file and of the home-made npz."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from disbench import arrays
from disbench.datasets import shapes3d
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe
from disbench.errors import DisbenchError
from disbench.testing import check_dataset
from tests.datasets.miniatures import pictures, recipe_for, smaller

SPEC = smaller(shapes3d.SPEC, (3, 2, 2, 3, 4, 2))
N = len(SPEC.space)


def write(folder: Path, images: np.ndarray | None = None, labels: np.ndarray | None = None) -> None:
    """As published: gzip chunks that span many images, labels as float64 values."""
    grids = np.meshgrid(*shapes3d.values_of_factors(SPEC), indexing="ij")
    right = np.stack([grid.reshape(-1) for grid in grids], axis=1)
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        chosen = pictures(N, SPEC.image_shape) if images is None else images
        file.create_dataset("images", data=chosen, chunks=(50, 4, 4, 1), compression="gzip")
        file.create_dataset("labels", data=right if labels is None else labels)


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recipe, Prepared]:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    recipe = recipe_for(shapes3d.RECIPE, SPEC, tmp_path)
    prepare(recipe, source=tmp_path, progress=False)
    return recipe, open_prepared(recipe)


def test_image_i_has_the_factors_of_index_i(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    _, dataset = opened(tmp_path, monkeypatch)
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset.images(torch.arange(N)).numpy(), pictures(N, SPEC.image_shape))
    values = torch.tensor([[2, 0, 1, 1, 3, 0]])
    number = ((((2 * 2 + 0) * 2 + 1) * 3 + 1) * 4 + 3) * 2 + 0
    assert SPEC.space.index(values).tolist() == [number]
    assert dataset.factors(torch.tensor([number])).tolist() == values.tolist()


@pytest.mark.parametrize("shape", [(N,), SPEC.space.sizes])
def test_the_home_made_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    """In a row, or with an axis for each factor, whose rows would be too large to be read at once."""
    monkeypatch.setattr(arrays, "_MAX_SMALL", 1 << 20)
    images = pictures(N, SPEC.image_shape).reshape(*shape, *SPEC.image_shape)
    np.savez_compressed(tmp_path / "3dshapes.npz", images=images)
    _, dataset = opened(tmp_path, monkeypatch)
    np.testing.assert_array_equal(dataset.images(torch.arange(N)).numpy(), pictures(N, SPEC.image_shape))


def test_labels_in_another_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = np.meshgrid(*shapes3d.values_of_factors(SPEC), indexing="ij")
    labels = np.stack([grid.reshape(-1) for grid in grids], axis=1)
    write(tmp_path, labels=labels[::-1])
    with pytest.raises(DisbenchError, match=r"label floor_hue of image 0 is 0.2.*do not belong together"):
        opened(tmp_path, monkeypatch)


def test_fewer_rows_than_combinations_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, images=pictures(N - 1, SPEC.image_shape))
    with pytest.raises(DisbenchError, match=f"shape .{N - 1}, 64, 64, 3.*expected .{N}, 64, 64, 3"):
        opened(tmp_path, monkeypatch)
    assert not any((tmp_path / "cache" / "prepared").glob("shapes3d*/"))
