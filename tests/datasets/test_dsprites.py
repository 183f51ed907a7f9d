"""dsprites from miniatures of its two published files, and the variants in colour and noise."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from disbench.datasets import dsprites
from disbench.datasets._prepared import Prepared, open_prepared
from disbench.datasets._preparing import prepare
from disbench.errors import DisbenchError
from disbench.registry import load_dataset
from disbench.testing import check_dataset
from disbench.types import FactorSpace
from tests.datasets.miniatures import pictures, recipe_for, smaller

SPEC = smaller(dsprites.SPEC, (3, 2, 4, 3, 5))
N = len(SPEC.space)
IMAGES = pictures(N, (64, 64)) & 1


def classes(space: FactorSpace) -> np.ndarray:
    """As in the files: int64, behind a constant colour."""
    grids = np.meshgrid(*(np.arange(n) for n in (1, *space.sizes)), indexing="ij")
    return np.stack([grid.reshape(-1) for grid in grids], axis=1)


def write_hdf5(folder: Path, images: np.ndarray = IMAGES, labels: np.ndarray | None = None) -> None:
    with h5py.File(folder / dsprites.HDF5.name, "w") as file:
        file.create_dataset("imgs", data=images, chunks=(100, 2, 4), compression="gzip")
        file.create_dataset("latents/classes", data=classes(SPEC.space) if labels is None else labels)
        file.create_dataset("latents/values", data=np.zeros((N, 6)))


def write_npz(folder: Path, images: np.ndarray = IMAGES, labels: np.ndarray | None = None) -> None:
    """With the pickled description that the published file has."""
    np.savez_compressed(
        folder / dsprites.NPZ.name,
        imgs=images,
        latents_classes=classes(SPEC.space) if labels is None else labels,
        latents_values=np.zeros((N, 6)),
        metadata=np.array({"author": "x"}, dtype=object),
    )


WRITERS = {"hdf5": write_hdf5, "npz": write_npz}


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setenv("DISBENCH_CACHE", str(folder / "cache"))
    recipe = recipe_for(dsprites.RECIPE, SPEC, folder)
    prepare(recipe, source=folder, progress=False)
    return open_prepared(recipe)


@pytest.mark.parametrize("form", WRITERS)
def test_image_i_has_the_factors_of_index_i(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[form](tmp_path)
    dataset = opened(tmp_path, monkeypatch)
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset.images(torch.arange(N))[..., 0].numpy(), IMAGES * 255)
    number = (((2 * 2 + 1) * 4 + 3) * 3 + 0) * 5 + 4
    assert dataset.factors(torch.tensor([number])).tolist() == [[2, 1, 3, 0, 4]]


@pytest.mark.parametrize("form", WRITERS)
def test_wrong_content_is_refused(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[form](tmp_path, labels=np.roll(classes(SPEC.space), 1, axis=0))
    with pytest.raises(
        DisbenchError, match=r"image 0 has the classes \[2, 1, 3, 2, 4\].*should have \[0, 0, 0, 0, 0\]"
    ):
        opened(tmp_path, monkeypatch)
    WRITERS[form](tmp_path, images=IMAGES * 255)
    with pytest.raises(DisbenchError, match="holds pixels of 255; expected 0 and 1"):
        opened(tmp_path, monkeypatch)
    WRITERS[form](tmp_path, images=IMAGES[1:])
    with pytest.raises(DisbenchError, match=f"has shape .{N - 1}, 64, 64.*expected .{N}, 64, 64"):
        opened(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def regen() -> Tensor:
    """Masks of 100 sprites, and their indices."""
    return torch.randint(737_280, (100,), generator=torch.Generator().manual_seed(0))


def masks(index: Tensor) -> Tensor:
    return load_dataset("dsprites_regen").images(index % 737_280) > 0


@pytest.mark.parametrize("name", ["color_dsprites_regen", "noisy_dsprites_regen"])
def test_variants_are_data_sets(name: str, regen: Tensor) -> None:
    dataset = load_dataset(name)
    check_dataset(dataset)
    assert dataset.spec.made_on == "any"
    same_factors = regen + 737_280 * torch.arange(1, 101)
    assert torch.equal(dataset.factors(same_factors), dataset.factors(regen))
    assert (dataset.images(same_factors) != dataset.images(regen)).flatten(1).any(1).all()


def test_a_coloured_sprite_has_one_bright_colour_on_black(regen: Tensor) -> None:
    index = regen + 737_280 * torch.arange(100)
    pixels, lit = load_dataset("color_dsprites_regen").images(index), masks(index)
    assert not pixels[~lit.expand_as(pixels)].any()
    colours = torch.stack([image[mask[..., 0]].unique(dim=0) for image, mask in zip(pixels, lit, strict=True)])
    assert colours.shape == (100, 1, 3)
    assert (colours >= 128).all()
    # Uniform in 128 ... 255: mean 191.5, standard error of 300 draws 2.1.
    assert abs(colours.double().mean() - 191.5) < 9


def test_a_noisy_sprite_is_white_on_uniform_noise(regen: Tensor) -> None:
    index = regen + 737_280 * torch.arange(100)
    pixels, lit = load_dataset("noisy_dsprites_regen").images(index), masks(index).expand(-1, -1, -1, 3)
    assert (pixels[lit] == 255).all()
    counts = torch.bincount(pixels[~lit].long(), minlength=256).double()
    assert ((counts / counts.sum() - 1 / 256).abs() < 6 * (1 / 256 / counts.sum()).sqrt()).all()
    noise = pixels.double().flatten(1)
    assert torch.corrcoef(noise[:20] * ~lit.flatten(1)[:20])[0, 1:].abs().max() < 0.3


def test_scream_shows_a_tinted_crop_and_its_negative(tmp_path: Path, regen: Tensor) -> None:
    """The picture is a ramp, so that the place of each crop can be read from it."""
    rows, columns = np.mgrid[:270, :200]
    picture = np.stack([rows % 256, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "The_Scream.png")
    (tmp_path / "The_Scream.png").rename(tmp_path / dsprites.SCREAM.name)
    dataset = load_dataset("scream_dsprites_regen", tmp_path)
    check_dataset(dataset)
    index = regen + 737_280 * torch.arange(100)
    pixels, lit = dataset.images(index).int(), masks(index)
    background = torch.where(lit, 255 - pixels, pixels)
    tint_of_third = background[..., 2]
    assert (tint_of_third == tint_of_third[:, :1, :1]).all()  # the picture's third channel is 0 throughout
    assert len(tint_of_third[:, 0, 0].unique()) > 30
    slope = background[:, :, 62, 1] - background[:, :, 0, 1]  # 62 columns on, halved
    assert (slope == 31).all()
    (tmp_path / dsprites.SCREAM.name).write_bytes(b"no picture")
    with pytest.raises(DisbenchError, match="cannot be read as a picture"):
        load_dataset("scream_dsprites_regen", tmp_path)
    Image.new("RGB", (60, 300)).save(tmp_path / "small.png")
    (tmp_path / "small.png").rename(tmp_path / dsprites.SCREAM.name)
    with pytest.raises(DisbenchError, match="crops of 64 x 64 need more"):
        load_dataset("scream_dsprites_regen", tmp_path)
