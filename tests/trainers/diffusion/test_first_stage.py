"""The first stages: networks, losses and their gradients beside plain ones, the way back, and what is missing."""

import copy
import dataclasses
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from disbench import UsageError
from disbench.imports import import_despite_torchvision
from disbench.registry import models
from disbench.settings import override
from reference_models.diffusion import adversary, perceptual
from reference_models.diffusion.first_stage import perplexity
from tests.conftest import TinyDataset
from tests.oracles import first_stage as plain

NAMES = ["vq", "kl"]
SMALL = {"width": 8, "perceptual_weight": 0.0, "adversary_filters": 4, "adversary_start": 1}
WITH_DIFFUSERS = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")


@pytest.fixture(autouse=True)
def nothing_said_before() -> Iterator[None]:
    """Each test may be the first to look for perceptual weights."""
    perceptual._loaded.cache_clear()
    yield
    perceptual._loaded.cache_clear()


def built(name: str, *, double: bool = False, **settings: Any) -> Any:
    """A small model with weights of its own seed."""
    entry = models()[name]
    settings = SMALL | ({"codebook_size": 32} if name == "vq" else {}) | settings
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = entry.build(override(entry.config(), settings))
    return model.double() if double else model


def images_of(n: int, n_channels: int = 3, *, double: bool = False) -> Tensor:
    images = torch.rand(n, n_channels, 64, 64, generator=torch.Generator().manual_seed(n))
    return images.double() if double else images


def drawn_for(model: Any, n: int, seed: int = 0) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = model.draw(n, torch.Generator().manual_seed(seed))
    return {key: numbers.to(next(model.parameters()).dtype) for key, numbers in drawn.items()}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near(expected: float) -> object:
    return pytest.approx(expected, rel=plain.TOLERANCE, abs=plain.TOLERANCE)


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@WITH_DIFFUSERS
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "vq",
            {
                "encoder": 1_403_363, "quant_conv": 12, "quantize": 6_144, "post_quant_conv": 12, "decoder": 2_068_547,
                "all": 3_478_078,
            },
        ),
        (
            "kl",
            {
                "encoder": 1_409_128, "quant_conv": 72, "post_quant_conv": 20, "decoder": 2_069_699, "all": 3_478_919,
            },
        ),
    ],
)  # fmt: skip
def test_number_of_parameters_is_the_papers(name: str, expected: dict[str, int]) -> None:
    with torch.device("meta"):
        model: Any = models()[name].build(models()[name].config())
    counts = {part: n_parameters(child) for part, child in model.autoencoder.named_children()}
    assert counts | {"all": n_parameters(model.autoencoder)} == expected
    assert n_parameters(model.discriminator) == 2_765_633
    assert all(module.num_groups == 32 for module in model.modules() if isinstance(module, nn.GroupNorm))


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_the_papers(name: str) -> None:
    entry = models()[name]
    config: Any = entry.config()
    assert entry.presets["paper"] == {}
    assert (config.batch_size, config.accumulate, config.learning_rate) == (256, 2, 1.152e-3)
    assert (config.beta1, config.beta2, config.width, config.perceptual_weight) == (0.5, 0.9, 32, 1.0)
    expected = {"vq": (0.75, 0, 2_048, 0.25), "kl": (0.5, 50_001, 1e-6)}[name]
    own = ("codebook_size", "codebook_beta") if name == "vq" else ("kl_weight",)
    assert tuple(getattr(config, field) for field in ("adversary_weight", "adversary_start", *own)) == expected
    for preset in entry.presets.values():
        override(config, preset)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_cannot_be(name: str) -> None:
    config = models()[name].config()
    for settings, match in (
        ({"width": 0}, "width must be at least 1"),
        ({"width": 0, "adversary_start": 1}, "width must be at least 1"),
        ({"adversary_start": -1}, "adversary_start must be at least 0"),
        ({"adversary_weight": -1.0}, "adversary_weight must be finite and not negative"),
    ):
        with pytest.raises(UsageError, match=match):
            dataclasses.replace(config, **settings)


@WITH_DIFFUSERS
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_latents_and_back(name: str, n_channels: int) -> None:
    model = built(name, double=True, n_channels=n_channels).eval()
    images = images_of(2, n_channels, double=True)
    with torch.no_grad():
        model.autoencoder.decoder.conv_out.weight.mul_(20)  # so that some pixels have to be clamped
        latents, codes = model.encode(images), model(images)
        assert latents.shape == (2, model.latent_channels, 16, 16)
        assert torch.equal(codes, latents.flatten(1))
        made = model.decode_latents(latents)
        torch.testing.assert_close(model.decode(codes), made)
        raw = model.reconstruct(latents, quantise=True)
        smooth = model.decode_latents(latents, quantise=False)
    assert made.shape == images.shape
    assert made.min() == 0
    assert made.max() == 1
    torch.testing.assert_close(made, ((raw + 1) / 2).clamp(0, 1))
    assert torch.equal(made, smooth) == (name == "kl")
    assert not model.scored
    assert not hasattr(model, "generate")


@WITH_DIFFUSERS
def test_decoding_quantises_to_the_nearest_vector() -> None:
    model = built("vq", double=True)
    with torch.no_grad():
        model.autoencoder.quantize.embedding.weight.copy_(normal(32, 3))
        latents = normal(2, 3, 16, 16, seed=1)
        nearest, _ = plain.quantise(latents.numpy(), model.autoencoder.quantize.embedding.weight.numpy())
        expected = model.decode_latents(torch.from_numpy(nearest), quantise=False)
        torch.testing.assert_close(model.decode_latents(latents), expected)


@WITH_DIFFUSERS
@pytest.mark.parametrize("beta", [0.25, 0.7])
def test_quantisation_loss_and_its_gradients_equal_plain_ones(beta: float) -> None:
    model = built("vq", double=True, codebook_beta=beta, codebook_size=11)
    quantise = model.autoencoder.quantize
    with torch.no_grad():
        quantise.embedding.weight.copy_(normal(11, 3))
    latents, downstream = normal(2, 3, 4, 5, seed=1).requires_grad_(), normal(2, 3, 4, 5, seed=2)
    codebook = quantise.embedding.weight.detach().numpy()
    expected, chosen = plain.quantise(latents.detach().numpy(), codebook)

    quantised, loss, (_, _, found) = quantise(latents)
    assert np.array_equal(found.reshape(2, 4, 5).numpy(), chosen)
    np.testing.assert_allclose(quantised.detach().numpy(), expected, rtol=0, atol=1e-12)
    assert loss.item() == near(plain.quantisation_loss(latents.detach().numpy(), expected, beta))
    assert perplexity(found, 11).item() == pytest.approx(plain.perplexity(chosen), rel=1e-5)

    (loss + (quantised * downstream).sum()).backward()
    arrays = plain.quantisation_gradients(latents.detach().numpy(), codebook, beta, downstream.numpy())
    for gradient, wanted in zip((latents.grad, quantise.embedding.weight.grad), arrays, strict=True):
        np.testing.assert_allclose(gradient.numpy(), wanted, rtol=0, atol=1e-12)


def test_perplexity_counts_what_is_in_even_use() -> None:
    assert perplexity(torch.arange(8), 32).item() == pytest.approx(8)
    assert perplexity(torch.full((5,), 3), 32).item() == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_hinge_losses_equal_plain_ones(scale: float) -> None:
    real, made = (scale * normal(4, 1, 6, 6, seed=seed) for seed in (0, 1))
    assert adversary.hinge_loss(real, made).item() == near(plain.hinge_loss(real.numpy(), made.numpy()))
    assert adversary.generator_loss(made).item() == near(-sum(made.flatten().tolist()) / made.numel())
    assert adversary.hinge_loss(torch.ones(3), -torch.ones(3)).item() == 0


def test_adaptive_weight_equals_what_two_gradients_by_hand_give() -> None:
    last_layer, hidden, wanted = normal(3, 4).requires_grad_(), normal(5, 4, seed=1), normal(5, 3, seed=2)
    made = hidden @ last_layer.T
    fidelity, generator = (made - wanted).square().mean(), -made.sum() / 7
    gradients = 2 / 15 * (made - wanted).T @ hidden, -torch.ones(3, 5, dtype=torch.float64) @ hidden / 7
    expected = plain.adaptive_weight(*(gradient.detach().numpy() for gradient in gradients), 0.75)
    found = adversary.adaptive_weight(fidelity, generator, last_layer, 0.75)
    assert found.item() == near(expected)
    assert not found.requires_grad
    flat = 1e-9 * generator  # the offset and the bound
    assert adversary.adaptive_weight(1e6 * fidelity, flat, last_layer, 0.75).item() == near(7_500)
    (fidelity + generator).backward()  # the graphs are still there
    assert last_layer.grad is not None
    torch.testing.assert_close(last_layer.grad, gradients[0].detach() + gradients[1].detach())


def test_patch_discriminator_equals_a_plain_one() -> None:
    network = adversary.PatchDiscriminator(3, 5).double()
    hidden = images = 2 * images_of(2, double=True) - 1
    weights = [module.weight for module in network.body if hasattr(module, "weight")]
    biases = [module.bias for module in network.body if hasattr(module, "weight")]
    hidden = nn.functional.conv2d(hidden, weights[0], biases[0], 2, 1)
    for k, stride in ((1, 2), (3, 2), (5, 1)):
        hidden = nn.functional.conv2d(torch.where(hidden > 0, hidden, 0.2 * hidden), weights[k], None, stride, 1)
        centred = hidden - hidden.mean((0, 2, 3), keepdim=True)
        hidden = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        hidden = hidden * weights[k + 1][:, None, None] + biases[k + 1][:, None, None]
    hidden = nn.functional.conv2d(torch.where(hidden > 0, hidden, 0.2 * hidden), weights[7], biases[7], 1, 1)
    assert hidden.shape == (2, 1, 6, 6)
    torch.testing.assert_close(network(images), hidden)


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_losses_equal_plain_ones(name: str) -> None:
    model, images = built(name, double=True), images_of(3, double=True)
    drawn = drawn_for(model, 3)
    terms = model.losses(images, drawn, 1)
    networks = model.autoencoder
    scaled = 2 * images - 1
    if name == "vq":
        latents = networks.encode(scaled).latents.detach()
        nearest, chosen = plain.quantise(latents.numpy(), networks.quantize.embedding.weight.detach().numpy())
        made = networks.decode(torch.from_numpy(nearest), force_not_quantize=True).sample
        regulariser = plain.quantisation_loss(latents.numpy(), nearest, 0.25)
        assert terms["quantisation"].item() == near(regulariser)
        assert terms["perplexity"].item() == pytest.approx(plain.perplexity(chosen), rel=1e-5)
        scale = 1
    else:
        mean, log_variance = (half.detach() for half in networks.quant_conv(networks.encoder(scaled)).chunk(2, dim=1))
        made = networks.decode(mean + (log_variance / 2).exp() * drawn["noise"]).sample
        expected = plain.kl(mean.numpy(), log_variance.numpy())
        assert terms["kl"].item() == near(expected)
        regulariser, scale = 1e-6 * expected, 3 * 64 * 64
    reconstruction = (scaled - made).abs().mean()
    assert terms["reconstruction"].item() == near(reconstruction.item())
    generator = -model.discriminator(made).mean()
    assert terms["generator"].item() == near(generator.item())
    last_layer = networks.decoder.conv_out.weight
    gradients = [
        torch.autograd.grad(value, last_layer, retain_graph=True)[0].numpy()
        for value in (scale * reconstruction, generator)
    ]
    weight = plain.adaptive_weight(*gradients, model.config.adversary_weight)
    assert terms["adaptive_weight"].item() == near(weight)
    logits = (model.discriminator(batch).detach().numpy() for batch in (scaled, made))
    discriminator = plain.hinge_loss(*logits)
    assert terms["discriminator"].item() == near(discriminator)
    total = scale * reconstruction.item() + regulariser + weight * generator.item() + discriminator
    assert terms["loss"].item() == near(total)


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_one_backward_pass_gives_each_player_its_own_gradient(name: str) -> None:
    model, images = built(name, double=True), images_of(2, double=True)
    drawn = drawn_for(model, 2)
    model.losses(images, drawn, 1)["loss"].backward()
    found = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}

    apart = built(name, double=True)
    terms = apart.losses(images, drawn, 1)
    of_vq, of_kl = terms.get("quantisation", 0), terms.get("kl", 0)
    scale = 1 if name == "vq" else 3 * 64 * 64
    pull = terms["adaptive_weight"] * terms["generator"]
    players = scale * terms["reconstruction"] + of_vq + 1e-6 * of_kl + pull, terms["discriminator"]
    gradients: dict[str, Tensor] = {}
    for part, objective in zip((apart.autoencoder, apart.discriminator), players, strict=True):
        others = apart.discriminator if part is apart.autoencoder else apart.autoencoder
        alone = torch.autograd.grad(objective, list(others.parameters()), retain_graph=True, allow_unused=True)
        assert alone == (None,) * len(alone)
        prefix = "autoencoder." if part is apart.autoencoder else "discriminator."
        parameters = dict(part.named_parameters())
        values = torch.autograd.grad(objective, list(parameters.values()), retain_graph=True)
        gradients |= {prefix + key: value for key, value in zip(parameters, values, strict=True)}
    assert found.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient)


def test_generators_gradient_is_that_of_an_unfixed_discriminator() -> None:
    discriminator = adversary.PatchDiscriminator(3, 4).double()
    images = 2 * images_of(3, double=True) - 1
    last_layer = normal(3, 3, 1, 1).requires_grad_()
    made = nn.functional.conv2d(normal(3, 3, 64, 64, seed=1), last_layer)
    fidelity = (images - made).abs().mean()
    terms = adversary.adversarial_terms(discriminator, images, made, fidelity, last_layer, 0.75)
    (expected,) = torch.autograd.grad(-discriminator(made).mean(), last_layer, retain_graph=True)
    (found,) = torch.autograd.grad(terms["generator"], last_layer)
    torch.testing.assert_close(found, expected)


@WITH_DIFFUSERS
@pytest.mark.parametrize("start", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_what_moves_in_two_steps(name: str, start: int) -> None:
    model = built(name, adversary_start=start)
    optimiser = torch.optim.Adam(model.parameter_groups(), lr=1e-3)
    before = copy.deepcopy(dict(model.named_parameters()))
    for step in (1, 2):
        optimiser.zero_grad(set_to_none=True)
        terms = model.losses(images_of(2), drawn_for(model, 2, seed=step), step)
        terms["loss"].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert all(term.shape == () and term.isfinite() for term in terms.values())
        if step < start:
            assert terms["discriminator"].item() == terms["generator"].item() == terms["adaptive_weight"].item() == 0
        optimiser.step()
    moved = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, before[key])}
    # Adding the same to all keys changes nothing; nor does the same to all logits while none is beyond a hinge.
    still = {f"autoencoder.{part}.mid_block.attentions.0.to_k.bias" for part in ("encoder", "decoder")}
    still |= {"discriminator.body.11.bias"}
    players = ("autoencoder.",) if start == 3 else ("autoencoder.", "discriminator.")
    assert moved | still == {key for key in before if key.startswith(players)} | still
    after = model.losses(images_of(2), drawn_for(model, 2), 3)
    assert after["discriminator"].item() > 0
    assert after["adaptive_weight"].item() > 0


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_without_an_adversary(name: str) -> None:
    model = built(name, adversary_weight=0.0)
    assert model.discriminator is None
    terms = model.losses(images_of(2), drawn_for(model, 2), 1)
    assert not {"generator", "discriminator", "adaptive_weight"} & terms.keys()
    terms["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_losses_in_mixed_precision(name: str) -> None:
    model, images = built(name), images_of(2)
    drawn = drawn_for(model, 2)
    full = model.losses(images, drawn, 1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.losses(images, drawn, 1)
    mixed["loss"].backward()
    assert all(term.dtype == torch.float32 for term in mixed.values())
    assert mixed["reconstruction"].item() == pytest.approx(full["reconstruction"].item(), rel=0.05)


def vgg() -> dict[str, Tensor]:
    """Random weights under the names of VGG16's."""
    generator, weights, place, n_inputs = torch.Generator().manual_seed(0), {}, 0, 3
    for n_channels, n_convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(n_convolutions):
            noise = torch.randn(n_channels, n_inputs, 3, 3, generator=generator)
            weights[f"features.{place}.weight"] = noise * (2 / 9 / n_inputs) ** 0.5
            weights[f"features.{place}.bias"] = torch.randn(n_channels, generator=generator) / 10
            n_inputs, place = n_channels, place + 2
        place += 1
    return weights


def put_weights(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are looked for, under a name that their hash fits."""
    monkeypatch.setenv("DISBENCH_CACHE", str(folder))
    (folder / "downloads").mkdir()
    torch.save(vgg(), folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    name = f"vgg16-{digest[:8]}.pth"
    (folder / "weights.pth").rename(folder / "downloads" / name)
    monkeypatch.setattr(perceptual, "WEIGHTS", dataclasses.replace(perceptual.WEIGHTS, name=name))


def test_perceptual_distance_is_the_package_s(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights in VGG16, and the gradient, too."""
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("needs the package lpips")
    put_weights(tmp_path, monkeypatch)
    assert perceptual.is_available()
    package = import_despite_torchvision("lpips")
    vision = import_despite_torchvision("torchvision.models.vgg")
    features = vision.make_layers(vision.cfgs["D"])
    network_of = SimpleNamespace(vgg16=lambda pretrained: SimpleNamespace(features=features))
    monkeypatch.setattr(package.pretrained_networks, "tv", network_of)  # without VGG16's head of 120 million weights
    network = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    features.load_state_dict({key.removeprefix("features."): value for key, value in vgg().items()})

    images, made = 2 * images_of(2) - 1, (2 * images_of(3)[:2] - 1).requires_grad_()
    found, expected = perceptual.distances(images, made), network(images, made).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    (here,), (there,) = (torch.autograd.grad(values.sum(), made) for values in (found, expected))
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-7)
    assert perceptual.distances(images, images).abs().max() < 1e-12
    grey = perceptual.distances(images[:, :1], made[:, :1])
    torch.testing.assert_close(
        grey, perceptual.distances(images[:, :1].repeat(1, 3, 1, 1), made[:, :1].repeat(1, 3, 1, 1))
    )


def test_perceptual_gradient_is_finite_where_all_features_are_zero() -> None:
    weights = {key: torch.zeros_like(value) for key, value in vgg().items()}
    heads = {f"lin{k}.model.1.weight": torch.ones(1, n, 1, 1) for k, n in enumerate((64, 128, 256, 512, 512))}
    network = perceptual.PerceptualDistance(weights, heads)
    made = images_of(1).requires_grad_()
    network(images_of(2)[:1], made).sum().backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_perceptual_term_is_in_the_loss_and_not_in_the_checkpoint(
    name: str, tmp_path, tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("needs the package lpips")
    put_weights(tmp_path, monkeypatch)
    plain_model, model = (built(name, adversary_weight=0.0, perceptual_weight=weight) for weight in (0.0, 2.0))
    assert model.taken_over(tiny) == (model.config, {})
    assert model.config.perceptual_weight == 2
    images, drawn = images_of(2), drawn_for(model, 2)
    terms, without = model.losses(images, drawn, 1), plain_model.losses(images, drawn, 1)
    scale = 1 if name == "vq" else 3 * 64 * 64
    assert terms["perceptual"].item() > 0
    expected = without["loss"].item() + scale * 2 * terms["perceptual"].item()
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert model.state_dict().keys() == plain_model.state_dict().keys()


@WITH_DIFFUSERS
@pytest.mark.parametrize("name", NAMES)
def test_missing_perceptual_weights_are_said_once(
    name: str, tmp_path, tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model, without = built(name, perceptual_weight=1.0), built(name)
    images, drawn = images_of(2), drawn_for(model, 2)
    for step in (1, 2):
        terms = model.losses(images, drawn, step)
        assert "perceptual" not in terms
        assert torch.equal(terms["loss"], without.losses(images, drawn, step)["loss"])
    assert model.taken_over(tiny) == (without.config, {})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("without the perceptual loss") == 1
    if importlib.util.find_spec("lpips") is not None:
        assert (
            f"Put vgg16-397923af.pth, from https://download.pytorch.org/models/vgg16-397923af.pth, into {tmp_path}"
            in said.err
        )


@WITH_DIFFUSERS
def test_nothing_is_said_where_no_perceptual_loss_is_asked_for(
    tiny: TinyDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    model = built("vq")
    assert model.taken_over(tiny) == (model.config, {})
    model.losses(images_of(2), {}, 1)
    assert capsys.readouterr().err == ""


def test_damaged_perceptual_weights_are_said(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("needs the package lpips")
    put_weights(tmp_path, monkeypatch)
    (tmp_path / "downloads" / perceptual.WEIGHTS.name).write_bytes(b"something else")
    assert not perceptual.is_available()
    assert "is damaged: its sha256 begins with" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    perceptual._loaded.cache_clear()
    assert not perceptual.is_available()
    assert "pip install lpips" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_without_diffusers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [key for key in sys.modules if key.partition(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    match = rf"^{name} needs diffusers; install it with: pip install 'disbench\[models\]'\.$"
    with pytest.raises(UsageError, match=match):
        built(name)
