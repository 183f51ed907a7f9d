"""The VAE family as models: networks, losses put together, gradients, and what the registry says of them."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disbench import UsageError
from disbench.checkpoint import load
from disbench.registry import checkpoints, models
from disbench.settings import override
from reference_models import beta_tcvae, dip_vae, factor_vae
from reference_models.networks import Discriminator
from reference_models.training import TrainConfig
from tests.oracles import vae as plain

FAMILY = ["beta_vae", "annealed_vae", "factor_vae", "beta_tcvae", "dip_vae_i", "dip_vae_ii"]
TRAINED = [
    name for name, entry in models().items() if entry.train is not None and issubclass(entry.config, TrainConfig)
]
N_IMAGES = 700


def built(name: str, *, double: bool = False, **settings: Any) -> Any:
    """A model with weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = models()[name].build(models()[name].config(**settings))
    return model.double() if double else model


def images_of(n: int, n_channels: int = 3) -> Tensor:
    return torch.rand(n, n_channels, 64, 64, generator=torch.Generator().manual_seed(n))


def drawn_for(model: Any, n: int, seed: int = 0) -> dict[str, Tensor]:
    return model.draw(n, torch.Generator().manual_seed(seed))


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_the_family_is_registered() -> None:
    assert set(FAMILY) <= set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_presets_and_sweep_are_of_fields_of_the_config(name: str) -> None:
    entry = models()[name]
    assert "paper" in entry.presets
    if name in FAMILY:
        assert {"gpu-hour", "cpu-minutes"} <= entry.presets.keys()
    for preset in entry.presets.values():
        changed = override(entry.config(), preset)
        assert dataclasses.asdict(changed) == dataclasses.asdict(entry.config()) | dict(preset)
    for field, values in entry.sweep.items():
        assert len(set(values)) == len(values) > 0
        for value in values:
            assert getattr(override(entry.config(), {field: value}), field) == value


@pytest.mark.parametrize("name", FAMILY)
def test_defaults_and_sweeps_are_the_studys(name: str) -> None:
    entry = models()[name]
    assert entry.presets["paper"] == {}
    config = entry.config()
    assert (config.steps, config.batch_size, config.learning_rate, config.n_codes) == (300_000, 64, 1e-4, 10)
    sweeps = {
        "beta_vae": {"beta": (1, 2, 4, 6, 8, 16)},
        "annealed_vae": {"max_capacity": (5, 10, 25, 50, 75, 100)},
        "factor_vae": {"gamma": (10, 20, 30, 40, 50, 100)},
        "beta_tcvae": {"beta": (1, 2, 4, 6, 8, 10)},
        "dip_vae_i": {"lambda_od": (1, 2, 5, 10, 20, 50)},
        "dip_vae_ii": {"lambda_od": (1, 2, 5, 10, 20, 50)},
    }
    assert entry.sweep == sweeps[name]
    fixed = {
        "annealed_vae": {"gamma": 1000, "ramp_steps": 100_000},
        "factor_vae": {
            "permute": "same", "discriminator_learning_rate": 1e-4, "discriminator_beta1": 0.5,
            "discriminator_beta2": 0.9,
        },
        "beta_tcvae": {"estimator": "minibatch"},
        "dip_vae_i": {"lambda_d_ratio": 10},
        "dip_vae_ii": {"lambda_d_ratio": 1},
    }.get(name, {})  # fmt: skip
    assert {field: getattr(config, field) for field in fixed} == fixed


@pytest.mark.parametrize("name", FAMILY)
def test_number_of_parameters_is_the_studys(name: str) -> None:
    model = built(name)
    count = {part: sum(p.numel() for p in child.parameters()) for part, child in model.named_children()}
    discriminator = {"discriminator": 5_018_002} if name == "factor_vae" else {}
    assert count == {"encoder": 310_228, "decoder": 382_339} | discriminator
    assert sum(p.numel() for p in model.parameters()) - discriminator.get("discriminator", 0) == 692_567


def test_the_discriminator_is_the_studys() -> None:
    network = built("factor_vae", double=True).discriminator
    layers = network.body[::2]
    for layer in layers:
        limit = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.9 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(5, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    arrays = [[getattr(layer, part).detach().numpy() for layer in layers] for part in ("weight", "bias")]
    expected = plain.discriminate(codes.numpy(), *arrays)
    assert network(codes).detach().numpy() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("name", FAMILY)
def test_codes_and_back(name: str, n_channels: int) -> None:
    model = built(name, n_channels=n_channels, n_codes=7)
    images = images_of(4, n_channels)
    codes = model(images)
    assert codes.shape == (4, 7)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, model.encoder(images)[0])
    for made in (model.decode(codes), model.generate(4, torch.Generator().manual_seed(1))):
        assert made.shape == images.shape
        assert 0 <= made.min() < made.max() <= 1
    again = model.generate(4, torch.Generator().manual_seed(1))
    assert torch.equal(made, again)
    assert model.generated_from == "codes drawn from the prior N(0, 1)"


@pytest.mark.parametrize("name", FAMILY)
def test_losses_are_finite_numbers_that_the_draw_determines(name: str) -> None:
    model, images = built(name, n_images=N_IMAGES), images_of(8)
    drawn = drawn_for(model, 8)
    assert all(len(numbers) == 8 and numbers.device.type == "cpu" for numbers in drawn.values())
    again = drawn_for(model, 8)
    assert all(torch.equal(numbers, again[key]) for key, numbers in drawn.items())
    first, second, third = (model.losses(images, numbers, 0) for numbers in (drawn, again, drawn_for(model, 8, seed=1)))
    assert "loss" in first
    for key, term in first.items():
        assert term.shape == ()
        assert term.isfinite()
        assert torch.equal(term, second[key])
    assert not torch.equal(first["loss"], third["loss"])


@pytest.mark.parametrize("name", FAMILY)
def test_every_parameter_is_given_to_adam_once(name: str) -> None:
    model = built(name)
    given = [id(parameter) for group in model.parameter_groups() for parameter in group["params"]]
    assert len(given) == len(set(given))
    assert set(given) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


MOVING = {
    "encoder": [f"encoder.body.{k}" for k in (0, 2, 4, 6, 9)] + ["encoder.mean", "encoder.log_variance"],
    "decoder": [f"decoder.body.{k}" for k in (0, 2, 5, 7, 9, 11)],
    "discriminator": [f"discriminator.body.{k}" for k in range(0, 13, 2)],
}


@pytest.mark.parametrize("name", FAMILY)
def test_gradients_reach_every_parameter_and_adam_moves_it(name: str) -> None:
    model = built(name, n_images=N_IMAGES)
    optimiser = torch.optim.Adam(model.parameter_groups(), lr=1e-3)
    before = copy.deepcopy(model.state_dict())
    for step in range(2):
        optimiser.zero_grad(set_to_none=True)
        model.losses(images_of(8), drawn_for(model, 8, seed=step), step)["loss"].backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any(), key
        optimiser.step()
    parts = list(MOVING) if name == "factor_vae" else ["encoder", "decoder"]
    listed = {f"{layer}.{kind}" for part in parts for layer in MOVING[part] for kind in ("weight", "bias")}
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == listed == set(before)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("beta_vae", {"beta": 7.0}),
    ("annealed_vae", {"max_capacity": 30.0, "ramp_steps": 20, "gamma": 11.0}),
    ("factor_vae", {"gamma": 13.0}),
    ("factor_vae", {"gamma": 13.0, "permute": "second"}),
    *(("beta_tcvae", {"beta": 5.0, "estimator": name}) for name in ("minibatch", "weighted", "stratified")),
    ("dip_vae_i", {"lambda_od": 3.0}),
    ("dip_vae_ii", {"lambda_od": 3.0}),
    ("dip_vae_ii", {"lambda_od": 3.0, "lambda_d_ratio": 4.0}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_losses_equal_plain_ones(name: str, settings: dict[str, Any]) -> None:
    model = built(name, double=True, n_channels=1, n_images=N_IMAGES, **settings)
    images, step = images_of(8, 1).double(), 7
    drawn = drawn_for(model, 8)
    found = {key: term.item() for key, term in model.losses(images, drawn, step).items()}
    expected = {
        key: pytest.approx(value, rel=1e-9, abs=1e-10)
        for key, value in plain_losses(model, images, drawn, step).items()
    }
    assert found == expected


def plain_losses(model: Any, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """The terms of a model of the family, from the outputs of its networks."""
    config = model.config
    noise, kind = drawn["noise"].double(), type(config)
    with torch.no_grad():
        mean, log_variance = model.encoder(images)
        codes = mean + log_variance.mul(0.5).exp() * noise
    keys = drawn.get("keys")
    others = codes
    if getattr(config, "permute", "same") == "second":
        assert keys is not None
        others, keys = codes[1::2], keys[1::2]
        images, mean, log_variance, codes = images[::2], mean[::2], log_variance[::2], codes[::2]
    with torch.no_grad():
        logits = model.decoder(codes)
    arrays = codes.numpy(), mean.numpy(), log_variance.numpy()
    reconstruction = plain.bernoulli_nll(logits.numpy(), images.numpy())
    kl = plain.kl_to_standard_normal(*arrays[1:])
    terms = {"reconstruction": reconstruction, "kl": kl}
    if kind is models()["beta_vae"].config:
        loss = reconstruction + config.beta * kl
    elif kind is models()["annealed_vae"].config:
        terms["capacity"] = plain.capacity(step, config.max_capacity, config.ramp_steps)
        loss = reconstruction + config.gamma * abs(kl - terms["capacity"])
    elif kind is models()["beta_tcvae"].config:
        weights: Callable[[int, int], list[list[float]]] = {
            "minibatch": plain.no_weights, "weighted": plain.weighted, "stratified": plain.stratified
        }[config.estimator]  # fmt: skip
        terms["total_correlation"] = plain.total_correlation(*arrays, weights(len(codes), N_IMAGES))
        loss = reconstruction + kl + (config.beta - 1) * terms["total_correlation"]
    elif kind is models()["factor_vae"].config:
        assert keys is not None
        layers = [layer for layer in model.discriminator.body if isinstance(layer, torch.nn.Linear)]
        network = [[getattr(layer, part).detach().numpy() for layer in layers] for part in ("weight", "bias")]
        of_codes = plain.discriminate(codes.numpy(), *network)
        of_permuted = plain.discriminate(plain.permuted(others.numpy(), keys.numpy()), *network)
        terms["total_correlation"] = plain.log_density_ratio(of_codes)
        terms["discriminator"] = plain.discriminator_loss(of_codes, of_permuted)
        loss = reconstruction + kl + config.gamma * terms["total_correlation"] + terms["discriminator"]
    else:
        of_ii = arrays[2] if kind is dip_vae.ConfigII else None
        terms["off_diagonal"], terms["diagonal"] = plain.dip_penalties(arrays[1], of_ii)
        lambda_d = config.lambda_d_ratio * config.lambda_od
        loss = reconstruction + kl + config.lambda_od * terms["off_diagonal"] + lambda_d * terms["diagonal"]
    return {"loss": loss, **terms}


@pytest.mark.parametrize("estimator", ["minibatch", "weighted", "stratified"])
def test_beta_tcvae_with_beta_1_is_the_vae(estimator: str) -> None:
    vae, tcvae = built("beta_vae", beta=1.0), built("beta_tcvae", beta=1.0, estimator=estimator, n_images=N_IMAGES)
    tcvae.load_state_dict(vae.state_dict())
    losses = [model.losses(images_of(8), drawn_for(vae, 8), 0)["loss"] for model in (vae, tcvae)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    expected = gradients(vae)
    for key, gradient in gradients(tcvae).items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-6, atol=1e-7)


def test_minibatch_and_weighted_sampling_have_one_gradient() -> None:
    found = []
    for estimator in ("minibatch", "weighted"):
        model = built("beta_tcvae", double=True, estimator=estimator, n_images=N_IMAGES)
        model.losses(images_of(4).double(), drawn_for(model, 4), 0)["loss"].backward()
        found.append(gradients(model))
    for key, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][key], rtol=1e-9, atol=1e-12)


def test_the_capacity_follows_the_steps() -> None:
    model = built("annealed_vae", max_capacity=40.0, ramp_steps=100)
    drawn = drawn_for(model, 4)
    for step, expected in ((0, 0.0), (1, 0.4), (50, 20.0), (100, 40.0), (10_000, 40.0)):
        terms = model.losses(images_of(4), drawn, step)
        assert terms["capacity"].item() == pytest.approx(expected)
        loss = terms["reconstruction"] + 1000 * (terms["kl"] - terms["capacity"]).abs()
        assert terms["loss"].item() == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("permute", ["same", "second"])
def test_each_part_of_factor_vae_gets_the_gradient_of_its_own_objective(permute: str) -> None:
    """One backward pass against two, in which the parts are frozen in turn."""
    model = built("factor_vae", double=True, permute=permute, gamma=30.0)
    images, drawn = images_of(6).double(), drawn_for(model, 6)
    model.losses(images, drawn, 0)["loss"].backward()
    combined = gradients(model)
    model.zero_grad(set_to_none=True)

    rows = slice(None, None, 1 if permute == "same" else 2)
    others = slice(None) if permute == "same" else slice(1, None, 2)
    mean, log_variance = model.encoder(images)
    codes = mean + (log_variance / 2).exp() * drawn["noise"]
    keys = drawn["keys"][others]
    permuted = torch.stack([codes[others][keys[:, c].argsort(), c] for c in range(10)], 1).detach()
    images, mean, log_variance, codes = images[rows], mean[rows], log_variance[rows], codes[rows]

    logits = model.discriminator(codes.detach())
    of_permuted = model.discriminator(permuted)
    targets = torch.tensor([0, 1]).repeat_interleave(len(codes))
    torch.nn.functional.cross_entropy(torch.cat((logits, of_permuted)), targets).backward()
    assert all((parameter.grad is None) == ("discriminator" not in key) for key, parameter in model.named_parameters())
    own = {key: parameter.grad.clone() for key, parameter in model.discriminator.named_parameters()}
    model.zero_grad(set_to_none=True)

    model.discriminator.requires_grad_(False)
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (log_variance / 2).exp()), prior)
    pixels = torch.nn.functional.binary_cross_entropy(model.decode(codes), images, reduction="none")
    logits = model.discriminator(codes)
    (pixels.flatten(1).sum(1) + kl.sum(1) + 30 * (logits[:, 0] - logits[:, 1])).mean().backward()
    expected = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
    expected |= {f"discriminator.{key}": gradient for key, gradient in own.items()}
    assert expected.keys() == combined.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(combined[key], gradient, rtol=1e-8, atol=1e-11)


def test_factor_vaes_discriminator_has_its_own_learning_rate_and_betas() -> None:
    model = built("factor_vae")
    optimiser = torch.optim.Adam(model.parameter_groups(), lr=3e-4, betas=(0.9, 0.999))
    vae, discriminator = optimiser.param_groups
    assert (vae["lr"], vae["betas"]) == (3e-4, (0.9, 0.999))
    assert (discriminator["lr"], discriminator["betas"]) == (1e-4, (0.5, 0.9))
    assert sum(parameter.numel() for parameter in discriminator["params"]) == 5_018_002


def test_a_trained_discriminator_finds_dependent_codes() -> None:
    """After a few steps its estimate of the total correlation is that of a known distribution: -log(1 - r^2) / 2."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = Discriminator(2, width=64)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.9))
    r = 0.9
    estimates = []
    for step in range(400):
        first, noise = torch.randn(2, 512, generator=generator)
        codes = torch.stack((first, r * first + (1 - r**2) ** 0.5 * noise), 1)
        permuted = factor_vae.permuted(codes, torch.rand(512, 2, generator=generator))
        optimiser.zero_grad()
        factor_vae.discriminator_loss(network(codes), network(permuted)).backward()
        optimiser.step()
        if step >= 300:
            with torch.no_grad():
                estimates.append(factor_vae.log_density_ratio(network(codes)).item())
    assert np.mean(estimates) == pytest.approx(-0.5 * np.log(1 - r**2), abs=0.1)


@pytest.mark.parametrize("name", FAMILY)
def test_mixed_precision_leaves_the_terms_in_full(name: str) -> None:
    model, images = built(name, n_images=N_IMAGES), images_of(8)
    drawn = drawn_for(model, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.losses(images, drawn, 3)
    for key, term in model.losses(images, drawn, 3).items():
        assert mixed[key].dtype == torch.float32
        assert mixed[key].item() == pytest.approx(term.item(), rel=0.05, abs=0.05)


def test_the_shipped_checkpoint_loads_into_beta_vae() -> None:
    checkpoint = load(checkpoints()["beta_vae-rooms3d"].path)
    entry = models()[checkpoint.model]
    model: Any = entry.build(override(entry.config(), checkpoint.config))
    model.load_state_dict(checkpoint.state_dict)
    assert model.config.beta == 8


@pytest.mark.parametrize(
    ("config", "settings", "sentence"),
    [
        (factor_vae.Config, {"permute": "sec"}, "did you mean 'second'"),
        (factor_vae.Config, {"permute": "second", "batch_size": 63}, "must be even; got 63 / 1"),
        (factor_vae.Config, {"permute": "second", "batch_size": 6, "accumulate": 2}, "must be even; got 6 / 2"),
        (factor_vae.Config, {"discriminator_learning_rate": 0.0}, "discriminator_learning_rate must be above 0"),
        (factor_vae.Config, {"discriminator_beta2": 1.0}, "must be below 1"),
        (beta_tcvae.Config, {"estimator": "stratifed"}, "did you mean 'stratified'"),
        (dip_vae.Config, {"lambda_od": -1.0}, "lambda_od must be finite and not negative"),
        (dip_vae.ConfigII, {"lambda_d_ratio": -1.0}, "lambda_d_ratio must be finite and not negative"),
    ],
)
def test_configs_that_cannot_be(config: type, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        config(**settings)


def test_a_data_set_with_fewer_images_than_a_batch_is_refused_by_stratified_sampling() -> None:
    model = built("beta_tcvae", estimator="stratified", n_images=7)
    with pytest.raises(UsageError, match="stratified estimator needs a batch of 2 images or more"):
        model.losses(images_of(8), drawn_for(model, 8), 0)
