"""Sheets of what a model makes, of models whose answers are known."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from disbench import DisbenchError, UsageError
from disbench.encode import Pca
from disbench.models import load_model
from disbench.pictures import heated, sheet
from disbench.sheets import SHEETS, Subject, draw, possible
from tests.conftest import TinyDataset, perfect_codes

SIDE, GAP, LABEL = 8, 2, 150


class Painter(torch.nn.Module):
    """Knows the square's brightness, column and row, and paints it."""

    def forward(self, images: Tensor) -> Tensor:
        return perfect_codes(images)

    def decode(self, codes: Tensor) -> Tensor:
        column, row = (codes[:, k].round().long().clamp(0, 7) for k in (1, 2))
        images = torch.zeros(len(codes), 1, SIDE, SIDE)
        images[torch.arange(len(codes)), 0, row, column] = codes[:, 0]
        return images


class TokenPainter(Painter):
    """The same with a token (code, -code / 2, 5) in place of each code."""

    def forward(self, images: Tensor) -> Tensor:
        codes = super().forward(images)
        return torch.stack([codes, -codes / 2, torch.full_like(codes, 5)], 2)

    def decode(self, codes: Tensor) -> Tensor:
        assert torch.allclose(codes[..., 1], -codes[..., 0] / 2, atol=1e-5)  # a traversal stays on the axis
        assert torch.allclose(codes[..., 2], torch.full_like(codes[..., 2], 5), atol=1e-5)
        return super().decode(codes[..., 0])


class Sampling(Painter):
    """Notes how it is asked to sample, draws from torch's generator, and looks at tokens where the square is."""

    decoding_cost = 40
    has_attention = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: tuple[int | None, float | None] | None = None

    @contextlib.contextmanager
    def sampling(self, n_steps: int | None = None, eta: float | None = None) -> Iterator[None]:
        self.asked = (n_steps, eta)
        yield

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes) * 0.9 + 0.1 * torch.rand(1)

    def attention(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.full((len(codes), 3, 4, 4), 0.25)
        weights[:, 2, :2] = 0.5
        return self.decode(codes), weights


def subject(module: Any, **options: Any) -> Subject:
    return Subject(load_model(module), TinyDataset(), torch.device("cpu"), **options)


def tiles(page: Image.Image, label_width: int, row: int, header: int = 0, pitch: int = SIDE + GAP) -> np.ndarray:
    """The pictures of a row (n, 8, 8), one channel."""
    top = header + row * pitch
    strip = np.asarray(page)[top : top + SIDE, label_width:, 0]
    n = strip.shape[1] // (SIDE + GAP)
    return np.stack([strip[:, k * (SIDE + GAP) :][:, :SIDE] for k in range(n)])


def test_reconstructions_stand_below_their_images() -> None:
    page = draw("reconstructions", subject(Painter()), 5)
    assert page.size == (LABEL + 5 * (SIDE + GAP), 2 * (SIDE + GAP))
    assert (tiles(page, LABEL, 0) == tiles(page, LABEL, 1)).all()


@pytest.mark.parametrize("module", [Painter(), TokenPainter()])
def test_a_traversal_moves_one_code_over_the_range_of_the_data(module: Any) -> None:
    page = draw("traversals", subject(module), 8)
    pitch = 2 * 17 + GAP
    first = tiles(page, LABEL, 0, pitch=pitch)
    assert (first[0] == first[1]).all()
    assert page.height == 4 * pitch
    found = set()
    for row in (1, 2, 3):
        pictures = tiles(page, LABEL, row, pitch=pitch)
        at = [np.unravel_index(picture.argmax(), (SIDE, SIDE)) for picture in pictures]
        moving = [len({place[k] for place in at}) for k in (0, 1)] + [len({picture.max() for picture in pictures})]
        assert sorted(moving)[:2] == [1, 1], "only one of row, column and brightness changes"
        found.add(moving.index(max(moving)))
        if max(moving) == 8 and moving[2] == 1:  # column or row: from the first to the last
            which = moving.index(8)
            assert [place[which] for place in at] in (list(range(8)), list(range(7, -1, -1)))
    assert found == {0, 1, 2}


def test_a_swap_takes_one_code_of_the_other_image() -> None:
    page = draw("swaps", subject(Painter(), seed=3), 4)
    for row in range(4):
        a, b, a_rebuilt, b_rebuilt, *mixed = tiles(page, 52, row, header=17)
        assert (a == a_rebuilt).all()
        assert (b == b_rebuilt).all()
        of_a, of_b = ((p.max(), p.max(0).argmax(), p.max(1).argmax()) for p in (a, b))
        for k, picture in enumerate(mixed):
            found = (picture.max(), picture.max(0).argmax(), picture.max(1).argmax())
            assert found == (*of_a[:k], of_b[k], *of_a[k + 1 :])


def test_attention_is_hot_where_it_is_high() -> None:
    page = draw("attention", subject(Sampling()), 2)
    image, sampled, *maps = tiles(page, 60, 0, header=34)
    assert len(maps) == 3
    assert (maps[2][:3] > 170).all()
    assert (maps[2][5:] < 100).all()
    assert (maps[0] == maps[1]).all()
    assert image.shape == sampled.shape


def test_a_sampler_is_told_how_to_sample_and_every_sheet_is_reproducible() -> None:
    for what in SHEETS:
        module = Sampling()
        pages = [draw(what, subject(module, n_steps=7, eta=0.5, seed=2), 3) for _ in range(2)]
        assert module.asked == (7, 0.5)
        assert pages[0].tobytes() == pages[1].tobytes()
        torch.manual_seed(5)
        assert draw(what, subject(module, seed=2), 3).tobytes() == pages[0].tobytes()
        assert draw(what, subject(module, seed=3), 3).tobytes() != pages[0].tobytes()


def test_more_images_begin_with_the_same() -> None:
    few, more = (tiles(draw("reconstructions", subject(Painter()), n), LABEL, 0) for n in (3, 5))
    assert (few == more[:3]).all()


def test_what_a_model_has_decides_which_sheets_it_can_have() -> None:
    assert possible(load_model(Painter())) == ["reconstructions", "traversals", "swaps"]
    assert possible(load_model(Sampling())) == list(SHEETS)
    assert possible(load_model(perfect_codes)) == []
    stage = Painter()
    stage.scored = False  # type: ignore[assignment]
    assert possible(load_model(stage)) == ["reconstructions"]
    with pytest.raises(UsageError, match="Painter has no swaps: what it returns is no representation"):
        draw("swaps", subject(stage))
    with pytest.raises(UsageError, match=r"perfect_codes has no decode\(codes\)"):
        draw("reconstructions", subject(perfect_codes))
    with pytest.raises(UsageError, match="Painter has no attention to show"):
        draw("attention", subject(Painter()))


@pytest.mark.parametrize(("what", "n"), [("traversals", 1), ("swaps", 0), ("reconstructions", 101)])
def test_numbers_of_images_that_no_sheet_has(what: str, n: int) -> None:
    with pytest.raises(UsageError, match=f"of {what} must lie in . ... 100; got {n}"):
        draw(what, subject(Painter()), n)


def test_what_a_decoder_must_not_return() -> None:
    model = load_model(Painter())
    for made, message in [
        (lambda codes: torch.zeros(len(codes), 3, 8, 8), r"decode returned shape \(2, 3, 8, 8\) for 2 images"),
        (lambda codes: torch.full((len(codes), 1, 8, 8), torch.nan), "values that are not finite"),
        (lambda codes: codes.view(7, 7, 7), "decode raised RuntimeError"),
    ]:
        wrong = Subject(replace(model, decode=made), TinyDataset(), torch.device("cpu"))
        with pytest.raises(DisbenchError, match=message):
            draw("reconstructions", wrong, 2)


def test_heat_lies_over_the_grey_image() -> None:
    image = torch.full((8, 8, 3), 200, dtype=torch.uint8)
    cold, hot = heated(image, torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]))
    assert cold.unique().tolist() == [60]
    assert hot[0, 0].tolist() == [round(60 + 0.7 * level) for level in (255, 255, 220)]


def test_a_caption_stands_above_its_column_and_labels_may_have_two_lines() -> None:
    pixels = torch.zeros(2, 40, 40, 1, dtype=torch.uint8)
    page = sheet([("a\nb", pixels), ("c", pixels)], columns=["one", "two\nlines"], label_width=30)
    assert page.size == (30 + 2 * 42, 34 + 2 * 42)
    assert (np.asarray(page)[:34] < 128).any()
    assert (np.asarray(page)[34:74, 30:70] == 0).all()


def test_the_axis_of_a_code_is_the_code() -> None:
    pca = Pca()
    pca.fit(torch.randn(50, 4, 1, generator=torch.Generator().manual_seed(0)))
    assert (pca.axes == 1).all()
