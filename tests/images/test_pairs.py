"""MSE, PSNR, SSIM and LPIPS beside plain loops, scikit-image's numbers and the package."""

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch

from disbench import registry
from disbench.errors import DisbenchError, NotApplicable, UsageError
from disbench.metrics.images import lpips as perceptual
from disbench.metrics.images.lpips import lpips
from disbench.metrics.images.mse import mse
from disbench.metrics.images.psnr import psnr
from disbench.metrics.images.ssim import ssim
from disbench.types import Score
from tests.oracles import pairs as plain

FUNCTIONS: dict[str, Callable[..., Score]] = {"mse": mse, "psnr": psnr, "ssim": ssim}
# scikit-image 0.26.0 on the arrays of `arrays(0)`; see the docstrings for its settings.
SCIKIT_IMAGE = {"psnr": 15.074144881958954, "ssim": 0.8231446931908163}


def arrays(seed: int, shape: tuple[int, ...] = (5, 3, 20, 24)) -> tuple[np.ndarray, np.ndarray]:
    """Images, and the same with noise."""
    rng = np.random.default_rng(seed)
    images = rng.random(shape)
    return images, np.clip(images + 0.2 * rng.standard_normal(shape), 0, 1)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(3, 3, 11, 14), (2, 1, 13, 11)])
def test_equals_the_plain_one(name: str, shape: tuple[int, ...]) -> None:
    for seed in range(3):
        images, made = arrays(seed, shape)
        expected = np.mean([getattr(plain, name)(a, b) for a, b in zip(images, made, strict=True)])
        assert FUNCTIONS[name](images, made).values == {name: pytest.approx(expected, abs=1e-12, rel=1e-12)}


@pytest.mark.parametrize("name", SCIKIT_IMAGE)
def test_equals_scikit_image(name: str) -> None:
    assert FUNCTIONS[name](*arrays(0)).values[name] == pytest.approx(SCIKIT_IMAGE[name], abs=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches_are_put_together(name: str) -> None:
    images, made = arrays(0, (300, 1, 11, 11))
    whole = FUNCTIONS[name](images, made)
    parts = [FUNCTIONS[name](images[part], made[part]).values[name] for part in (slice(0, 150), slice(150, 300))]
    assert whole.values[name] == pytest.approx(np.mean(parts), abs=1e-12)
    assert whole.details["num_images"] == 300


def test_equal_images() -> None:
    images, made = arrays(0)
    assert mse(images, images).values == {"mse": 0.0}
    assert ssim(images, images).values["ssim"] == pytest.approx(1)
    made[1:] = images[1:]
    assert psnr(images, made).undefined == {"psnr": "it is infinite for 4 of 5 pairs, which are equal"}
    assert not psnr(images, made).values


def test_float32_is_enough_of_an_input() -> None:
    images, made = arrays(0)
    for function in FUNCTIONS.values():
        exact, single = (function(images.astype(kind), made.astype(kind)) for kind in (np.float64, np.float32))
        assert dict(exact.values) == pytest.approx(dict(single.values), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: 255 * a, r"reconstructions must lie in \[0, 1\]; got"),
        (lambda a: a * np.nan, r"reconstructions must lie in \[0, 1\]; got nan"),
        (lambda a: (255 * a).astype(np.uint8), r"reconstructions must be floats \(n, c, h, w\); got torch.uint8"),
        (lambda a: a[0], r"reconstructions must be floats \(n, c, h, w\)"),
        (lambda a: a[:, :, 1:], r"must be alike; got \(5, 3, 20, 24\) and \(5, 3, 19, 24\)"),
    ],
)
def test_bad_arrays(change: Callable[[np.ndarray], np.ndarray], sentence: str) -> None:
    images, made = arrays(0)
    with pytest.raises(DisbenchError, match=sentence):
        mse(images, change(made))


def test_images_smaller_than_the_window() -> None:
    with pytest.raises(NotApplicable, match="windows are 11 pixels wide"):
        ssim(*arrays(0, (2, 3, 10, 30)))


def alexnet() -> dict[str, torch.Tensor]:
    """Random weights under the names of AlexNet's."""
    generator = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights = {}
    for layer, shape in shapes.items():
        weights[f"features.{layer}.weight"] = torch.randn(shape, generator=generator) / np.prod(shape[1:]) ** 0.5
        weights[f"features.{layer}.bias"] = torch.randn(shape[0], generator=generator) / 10
    return weights


def test_lpips_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install lpips"):
        lpips(*arrays(0))
    monkeypatch.undo()


def test_lpips_says_which_file_to_put_where(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("needs the package lpips")
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=f"Put alexnet-owt-7be5be79.pth, from https.*into {tmp_path}/downloads"):
        lpips(*arrays(0))
    (tmp_path / "downloads").mkdir()
    torch.save(alexnet(), tmp_path / "downloads" / "alexnet-owt-7be5be79.pth")
    assert perceptual.missing() == ""
    with pytest.raises(DisbenchError, match="is damaged: its sha256 begins with"):
        lpips(*arrays(0, (2, 3, 32, 32)))


@pytest.mark.parametrize("shape", [(2, 3, 30, 40), (2, 2, 40, 40)])
def test_images_that_alexnet_cannot_look_at(shape: tuple[int, ...]) -> None:
    images, made = (torch.from_numpy(a) for a in arrays(0, shape))
    with pytest.raises(NotApplicable, match="AlexNet takes grey or RGB images of at least 31 x 31 pixels"):
        perceptual.distances(images, made, perceptual.Settings())


def test_lpips_is_the_package_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights in AlexNet, layer by layer."""
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("needs the package lpips")
    network = perceptual.build(alexnet())
    monkeypatch.setattr(perceptual, "_network", lambda device: network)
    monkeypatch.setattr(perceptual, "_weights", lambda: "here")
    images, made = (torch.from_numpy(a).float() for a in arrays(0, (3, 3, 64, 64)))
    expected = plain_lpips(images, made, [getattr(network, f"lin{k}").model[-1].weight for k in range(5)])
    found = lpips(images, made).values["lpips"]
    assert found == pytest.approx(float(expected.mean()), rel=1e-4)
    assert lpips(images, images).values["lpips"] == 0
    grey = images[:, :1]
    assert lpips(grey, made[:, :1]).values == pytest.approx(
        lpips(grey.repeat(1, 3, 1, 1), made[:, :1].repeat(1, 3, 1, 1)).values
    )


def plain_lpips(images: torch.Tensor, made: torch.Tensor, heads: list[torch.Tensor]) -> torch.Tensor:
    """From AlexNet's formulas and the heads' weights (1, c, 1, 1)."""
    weights = alexnet()
    pooled, strides, paddings = {3, 6}, {0: 4}, {0: 2, 3: 2}
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    pair = [(2 * batch - 1 - shift[:, None, None]) / scale[:, None, None] for batch in (images, made)]
    total = torch.zeros(len(images))
    for layer, head in zip((0, 3, 6, 8, 10), heads, strict=True):
        for k in (0, 1):
            before = torch.nn.functional.max_pool2d(pair[k], 3, 2) if layer in pooled else pair[k]
            pair[k] = torch.relu(
                torch.nn.functional.conv2d(
                    before,
                    weights[f"features.{layer}.weight"],
                    weights[f"features.{layer}.bias"],
                    stride=strides.get(layer, 1),
                    padding=paddings.get(layer, 1),
                )
            )
        a, b = (batch / (batch.square().sum(1, keepdim=True).sqrt() + 1e-10) for batch in pair)
        total += (head * (a - b).square()).sum(1).mean((1, 2)).detach()
    return total


def test_registered() -> None:
    for name in (*FUNCTIONS, "lpips"):
        metric = registry.metrics()[name]
        assert metric.needs == "reconstructions"
        assert metric.settings().num_images == 1_000
