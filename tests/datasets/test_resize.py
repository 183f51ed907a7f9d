"""Resize rules against PIL itself and against what each rule is defined as."""

import numpy as np
import pytest
from PIL import Image

from disbench.datasets._resize import RULES, resize, resize_picture
from disbench.errors import UsageError
from tests.datasets.miniatures import pictures

SHAPES = [(128, 128, 3), (96, 96, 1), (64, 64, 3), (512, 512, 3)]


def as_picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


@pytest.mark.parametrize("shape", SHAPES)
def test_lanczos_is_what_thumbnail_gives(shape: tuple[int, int, int]) -> None:
    images = pictures(2, shape)
    resized = resize(images, 64, "lanczos")
    assert resized.dtype == np.uint8
    assert resized.shape == (2, 64, 64, shape[-1])
    for image, found in zip(images, resized, strict=True):
        thumbnail = as_picture(image)
        thumbnail.thumbnail((64, 64), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(found, np.asarray(thumbnail).reshape(found.shape))


@pytest.mark.parametrize("rule", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_the_other_rules_are_plain_filters(rule: str, shape: tuple[int, int, int]) -> None:
    images = pictures(2, shape)
    for image, found in zip(images, resize(images, 64, rule), strict=True):
        expected = as_picture(image).resize((64, 64), getattr(Image.Resampling, rule.upper()))
        np.testing.assert_array_equal(found, np.asarray(expected).reshape(found.shape))


def test_bilinear_is_antialiased() -> None:
    """Halving weighs the four nearest pixels of each axis 1, 3, 3, 1; without antialiasing it were 0, 1, 1, 0."""
    image = pictures(1, (128, 128, 1))
    weights = np.array([1, 3, 3, 1]) / 8
    centre = image[0, 59:63, 79:83, 0]  # around row 30 and column 40 of the result
    found = resize(image, 64, "bilinear")[0, 30, 40, 0]
    assert abs(weights @ centre @ weights - float(found)) <= 1


def test_overshoot_is_clipped() -> None:
    edge = np.zeros((1, 128, 128, 1), np.uint8)
    edge[:, :, 63:] = 255
    for rule in ("lanczos", "bicubic"):
        columns = resize(edge, 64, rule)[0, 0, :, 0]
        assert columns[0] == 0
        assert columns[-1] == 255
        assert columns[32:].min() > 200  # a wrapped overshoot would be near 0


def test_rules_differ() -> None:
    image = pictures(1, (96, 96, 3))
    results = [resize(image, 64, rule).tobytes() for rule in RULES]
    assert len(set(results)) == len(RULES)


def test_a_picture_takes_width_and_height() -> None:
    picture = Image.fromarray(pictures(1, (20, 30, 3))[0])
    assert resize_picture(picture, (12, 7), "bicubic").size == (12, 7)


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="no resize rule called 'bilinaer'; did you mean 'bilinear'"):
        resize(pictures(1, (8, 8, 1)), 4, "bilinaer")
