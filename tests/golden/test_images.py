"""Generated images against real ones."""

from pathlib import Path

import numpy as np
import torch

from disbench.registry import load_dataset

FOLDER = Path(__file__).parent


def test_dsprites_frames() -> None:
    real = np.load(FOLDER / "dsprites_frames.npz")
    dataset = load_dataset("dsprites_regen")
    ours = dataset.images(dataset.spec.space.index(torch.from_numpy(real["factors"])))[..., 0].numpy()
    assert set(np.unique(ours)) == {0, 255}
    exact = (ours // 255 == real["images"]).all((1, 2))
    assert exact.sum() >= 316
    _, first = np.unique(real["factors"], axis=0, return_index=True)
    assert len(first) == 258
    assert exact[first].sum() >= 257
    assert (ours // 255 != real["images"]).sum((1, 2)).max() <= 2


def test_dsprites_number_of_lit_pixels() -> None:
    """Of one position: the whole set (128,322,300 lit pixels) would take minutes."""
    dataset = load_dataset("dsprites_regen")
    values = torch.cartesian_prod(
        torch.arange(3), torch.arange(6), torch.arange(40), torch.tensor([0]), torch.tensor([0])
    )
    lit = (dataset.images(dataset.spec.space.index(values)) > 0).sum((1, 2, 3)).view(3, -1).double().mean(1)
    # By shape over the whole set, from the published total: square, ellipse, heart.
    expected = torch.tensor([53_612_866, 42_058_960, 32_650_474]) / 245_760
    torch.testing.assert_close(lit, expected.double(), rtol=0.01, atol=0)


def test_rooms3d_against_samples_of_shapes3d(data_dir: Path) -> None:
    """Sky, palette and layout; the classes were estimated by eye from the real pictures."""
    real = np.load(data_dir / "shapes3d_samples.npz")["images"].astype(int)
    estimated = [(0, 1, 0, 6, 2, 4), (3, 8, 5, 5, 1, 0), (4, 7, 2, 5, 1, 5), (3, 2, 0, 7, 2, 7), (9, 2, 9, 7, 0, 11)]
    rows = [0, 1, 2, 7, 14]
    dataset = load_dataset("rooms3d")
    ours = dataset.images(dataset.spec.space.index(torch.tensor(estimated))).numpy().astype(int)
    assert np.abs(ours[:, 1:] - real[rows, 1:]).mean() < 8
    assert (ours[:, 0] == [153, 226, 249]).all()
    shuffled = real[np.roll(rows, 1), 1:]
    assert np.abs(ours[:, 1:] - shuffled).mean() > 40


def test_rooms3d_colours_are_the_palette() -> None:
    """The lit wall straight ahead is the pure hue times 0.995, at every hue."""
    dataset = load_dataset("rooms3d")
    space = dataset.spec.space
    values = torch.tensor([[0, hue, 5, 0, 0, 7] for hue in range(10)])
    wall = dataset.images(space.index(values))[:, 27, 5].double() / 255
    hues = torch.tensor(
        [
            [1, 0, 0],
            [1, 0.6, 0],
            [0.8, 1, 0],
            [0.2, 1, 0],
            [0, 1, 0.4],
            [0, 1, 1],
            [0, 0.4, 1],
            [0.2, 0, 1],
            [0.8, 0, 1],
            [1, 0, 0.6],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(wall, 0.995 * hues, atol=1 / 255, rtol=0)


def test_sprites_statistics(data_dir: Path) -> None:
    """Channel means and mean spread per image, measured once on 20,000 images (standard error .00016)."""
    dataset = load_dataset("sprites", data_dir)
    index = torch.randint(len(dataset), (20_000,), generator=torch.Generator().manual_seed(0))
    sums, spreads = torch.zeros(3).double(), torch.zeros(3).double()
    for batch in index.split(1000):
        pixels = dataset.images(batch).double().flatten(1, 2) / 255
        sums += pixels.mean(1).sum(0)
        spreads += pixels.std(1).sum(0)
    torch.testing.assert_close(
        sums / len(index), torch.tensor([0.09755, 0.07621, 0.07189]).double(), atol=1.5e-3, rtol=0
    )
    torch.testing.assert_close(
        spreads / len(index), torch.tensor([0.22704, 0.19500, 0.18181]).double(), atol=1.5e-3, rtol=0
    )
