"""xysquares and xyobject against pictures drawn pixel by pixel."""

import itertools

import numpy as np
import pytest
import torch

from disbench.datasets.xy import XYObject, XYSquares
from disbench.registry import load_dataset
from disbench.testing import check_dataset


def squares(values: list[int]) -> np.ndarray:
    picture = np.zeros((64, 64, 3), np.uint8)
    for channel in range(3):
        x, y = values[2 * channel], values[2 * channel + 1]
        for row, column in itertools.product(range(8), range(8)):
            picture[8 * y + row, 8 * x + column, channel] = 255
    return picture


def one_object(values: list[int]) -> np.ndarray:
    colors = [
        color
        for level in (63, 127, 191, 255)
        for color in (
            (level, 0, 0),
            (level, level, 0),
            (0, level, 0),
            (0, level, level),
            (0, 0, level),
            (level, 0, level),
        )
    ]
    x, y, scale, color = values
    side = (7, 9, 11, 13, 15)[scale]
    picture = np.zeros((64, 64, 3), np.uint8)
    for row, column in itertools.product(range(side), range(side)):
        picture[2 * y + (15 - side) // 2 + row, 2 * x + (15 - side) // 2 + column] = colors[color]
    return picture


@pytest.mark.parametrize(("name", "draw"), [("xysquares", squares), ("xyobject", one_object)])
def test_image_i_has_the_factors_of_index_i(name: str, draw) -> None:  # type: ignore[no-untyped-def]
    dataset = load_dataset(name)
    check_dataset(dataset)
    index = torch.randint(len(dataset), (200,), generator=torch.Generator().manual_seed(0))
    index = torch.cat([index, torch.tensor([0, 1, len(dataset) - 1])])
    images = dataset.images(index)
    assert images.dtype == torch.uint8
    for row, image in zip(index.tolist(), images.numpy(), strict=True):
        digits = [int(digit) for digit in np.unravel_index(row, dataset.spec.space.sizes)]
        assert dataset.factors(torch.tensor([row])).tolist() == [digits]
        np.testing.assert_array_equal(image, draw(digits))


def test_known_pixels() -> None:
    dataset = XYSquares()
    index = dataset.spec.space.index(torch.tensor([[1, 2, 3, 4, 7, 0]]))
    assert index.tolist() == [((((1 * 8 + 2) * 8 + 3) * 8 + 4) * 8 + 7) * 8 + 0]
    image = dataset.images(index)[0]
    assert image[16, 8].tolist() == [255, 0, 0]
    assert image[39, 31].tolist() == [0, 255, 0]
    assert image[0, 63].tolist() == [0, 0, 255]
    assert image[8, 16].tolist() == [0, 0, 0]
    assert image[15, 8].tolist() == [0, 0, 0]
    # Column 24, row 0, the largest, at full magenta: it ends one pixel before the edge.
    last = XYObject().images(torch.tensor([((24 * 25 + 0) * 5 + 4) * 24 + 23]))[0]
    assert last[14, 62].tolist() == [255, 0, 255]
    assert last[14, 63].tolist() == [0, 0, 0]
    assert last[15, 62].tolist() == [0, 0, 0]


def test_every_image_of_xysquares_has_the_published_mean() -> None:
    dataset = XYSquares()
    index = torch.randint(len(dataset), (300,), generator=torch.Generator().manual_seed(1))
    means = (dataset.images(index).double() / 255).mean((1, 2))
    torch.testing.assert_close(means, torch.full_like(means, 0.015625))


@pytest.mark.parametrize("name", ["xysquares", "xyobject"])
def test_images_are_made_where_the_index_is(name: str) -> None:
    """Whatever is made without naming a device would land on torch's default one, which here has no memory."""
    dataset = load_dataset(name)
    assert dataset.spec.made_on == "any"
    index = torch.arange(0, len(dataset), len(dataset) // 7)
    expected = dataset.images(index)
    with torch.device("meta"):
        assert torch.equal(dataset.images(index), expected)
    if torch.cuda.is_available():
        assert torch.equal(dataset.images(index.cuda()).cpu(), expected)
