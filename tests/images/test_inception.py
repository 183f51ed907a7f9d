"""Inception: one random state in two implementations, and the file of its weights."""

import importlib.util
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Generator, Tensor, nn

from disbench import extractors, inception, sources
from disbench.errors import DisbenchError, UsageError
from disbench.extractors import load_extractor, on_weights
from disbench.imports import import_despite_torchvision

needs_torch_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="needs torch-fidelity: pip install 'disbench[fid]'"
)
needs_pytorch_fid = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_fid") is None, reason="needs pytorch-fid: pip install 'disbench[dev]'"
)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights of a size that neither dies out nor blows up on the way."""
    home = import_despite_torchvision("torch_fidelity.feature_extractor_inceptionv3")
    network_class = home.FeatureExtractorInceptionV3
    with (
        torch.device("meta"),
        patch.object(home, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(network_class, "load_state_dict", lambda *_: None),
    ):
        shapes = {name: value.shape for name, value in network_class("shapes", ["2048"]).state_dict().items()}
    generator = Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
        elif len(shape) > 1:
            weights[name] = torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            weights[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            weights[name] = torch.randn(shape, generator=generator) * 0.1
    return weights


@pytest.fixture(scope="module")
def weights_file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def network(weights_file: Path) -> nn.Module:
    return inception.build(inception.load_weights(weights_file), str(weights_file))


@pytest.fixture(scope="module")
def other(state: dict[str, Tensor]) -> Any:
    """pytorch-fid's module, whose networks have the same weights."""
    home = import_despite_torchvision("pytorch_fid.inception")
    with patch.object(home, "load_state_dict_from_url", lambda *_, **__: state):
        yield home


def pixels_of(n: int, side: int, channels: int = 3) -> Tensor:
    """Smooth random pictures: uint8 (n, side, side, channels)."""
    coarse = torch.rand(n, channels, 9, 9, generator=Generator().manual_seed(1))
    images = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return (images * 255).round().to(torch.uint8).movedim(1, -1)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, in units of the features' mean size."""
    return ((found - expected).abs().max() / expected.abs().mean()).item()


@needs_torch_fidelity
@needs_pytorch_fid
def test_two_implementations_agree_on_the_same_input(network: nn.Module, other: Any) -> None:
    pixels = pixels_of(4, 299)
    theirs = other.InceptionV3(resize_input=False, normalize_input=False).eval()
    expected = theirs((pixels.movedim(-1, 1).float() - 128) / 128)[0].flatten(1)
    found = on_weights("inception", network, "0" * 64, torch.device("cpu"))(pixels)
    assert found.shape == (4, 2048)
    assert found.dtype == torch.float32
    assert expected.std(0).mean() > 0.01 * expected.abs().mean()  # the images are told apart
    assert difference(found, expected) < 1e-4


@needs_torch_fidelity
@needs_pytorch_fid
def test_the_disdiff_variant_is_pytorch_fid_on_0_to_255(network: nn.Module, other: Any) -> None:
    pixels = pixels_of(4, 64)
    theirs = other.InceptionV3().eval()
    images = pixels.movedim(-1, 1).float()
    found = on_weights("inception@disdiff", network, "0" * 64, torch.device("cpu"))(pixels)
    assert difference(found, theirs(images)[0].flatten(1)) < 1e-4
    assert difference(found, theirs(images / 255)[0].flatten(1)) > 1


@needs_torch_fidelity
def test_grey_pictures_are_seen_as_grey_ones_in_colour(network: nn.Module) -> None:
    extractor = on_weights("inception", network, "0" * 64, torch.device("cpu"))
    grey = pixels_of(2, 32, channels=1)
    torch.testing.assert_close(extractor(grey), extractor(grey.repeat(1, 1, 1, 3)), rtol=0, atol=1e-5)
    with pytest.raises(DisbenchError, match=r"Inception takes grey or RGB pictures; these have 4 channels"):
        extractor(pixels_of(2, 32, channels=4))
    with pytest.raises(DisbenchError, match=r"pictures, uint8 \(n, h, w, c\); got torch.float32 \(2, 32, 3\)"):
        extractor(torch.zeros(2, 32, 3))


@pytest.mark.parametrize("find", [inception.features, inception.features_disdiff])
def test_convolutions_keep_their_precision(find: Any) -> None:
    seen = []

    class Network(nn.Module):
        def __getattr__(self, name: str) -> Any:
            return self

        def forward(self, images: Tensor) -> Any:
            seen.append(torch.backends.cudnn.allow_tf32)
            return images.float()

    before = torch.backends.cudnn.allow_tf32
    find(Network(), pixels_of(1, 4))
    assert not any(seen)
    assert seen
    assert torch.backends.cudnn.allow_tf32 == before


@needs_torch_fidelity
def test_other_weights_are_part_of_the_name(weights_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.random.get_rng_state()
    extractor = load_extractor("inception", weights=weights_file, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    digest = sources._digests(weights_file, ["sha256"], progress=False)["sha256"]
    assert extractor.name == f"inception ({digest[:8]}, TF1 bilinear to 299)"
    assert extractor.content_hash != load_extractor("inception@disdiff", weights=weights_file).content_hash
    assert "is not the published file of Inception's weights" in capsys.readouterr().err


@needs_torch_fidelity
def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    said = inception.missing()
    assert said is not None
    for part in (
        "Put weights-inception-2015-12-05-6726825d.pth (95,628,359 bytes, sha256 6726825d0af5f729cebd5821db510b11b1cf",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
        "pt_inception-2015-12-05-6726825d.pth",
        str(tmp_path / "downloads"),
        "or into the folder named by DISBENCH_DATA",
    ):
        assert part in said
    assert extractors.missing("inception") == extractors.missing("inception@disdiff") == said
    assert extractors.missing("own.py:features") == ""
    with pytest.raises(UsageError, match=r"the weights of Inception are not here"):
        load_extractor("inception")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / inception.WEIGHTS[1].name).write_bytes(b"cut off")
    assert inception.missing() is None
    with pytest.raises(DisbenchError, match=r"has 7 bytes of 95,628,359"):
        load_extractor("inception")


def test_without_torch_fidelity_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    version = torch.__version__.partition("+")[0]
    with pytest.raises(UsageError, match=rf"pip install 'disbench\[fid\]' 'torch=={version}'"):
        load_extractor("inception")
    with pytest.raises(UsageError, match=r"pip install 'disbench\[fid\]'"):
        inception.build({}, "nowhere")


@needs_torch_fidelity
def test_the_published_file_is_found_and_verified_once(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with its own size and hash plays the published file."""
    size, digest = weights_file.stat().st_size, sources._digests(weights_file, ["sha256"], progress=False)["sha256"]
    stand_in = sources.SourceFile("pt_inception-2015-12-05-6726825d.pth", size=size, sha256=digest)
    monkeypatch.setattr(inception, "WEIGHTS", (stand_in,))
    monkeypatch.setenv("DISBENCH_DATA", str(tmp_path))
    (tmp_path / stand_in.name).symlink_to(weights_file)
    inception._verify.cache_clear()
    with patch.object(sources, "verify", wraps=sources.verify) as verify:
        assert inception.find_weights() == inception.find_weights() == tmp_path / stand_in.name
    assert verify.call_count == 1


class _Code:
    def __reduce__(self) -> Any:
        return print, ("this ran",)


@pytest.mark.parametrize("content", ["code", "text", "list"])
def test_files_that_are_no_weights_are_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    if content == "code":
        path.write_bytes(pickle.dumps(_Code()))
    elif content == "text":
        path.write_text("not found")
    else:
        torch.save([1, 2], path)
    with pytest.raises(DisbenchError, match=r"cannot be read as weights|is no dict of tensors by name"):
        inception.load_weights(path)
    assert "this ran" not in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"there is no file of weights at"):
        inception.load_weights(tmp_path / "none.pth")


@needs_torch_fidelity
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DisbenchError, match=r"the weights in here do not fit the Inception network of FID"):
        inception.build({"a": torch.zeros(1)}, "here")


def test_only_torchvisions_own_failure_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_otherwise.py").write_text("raise RuntimeError('something else')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match=r"something else"):
        import_despite_torchvision("fails_otherwise")
    with pytest.raises(ImportError):
        import_despite_torchvision("no_such_module_anywhere")
