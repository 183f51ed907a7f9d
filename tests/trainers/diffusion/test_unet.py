"""The denoiser and DisDiff's shift branch: sizes, zero beginnings, conditioning, attention, gradients."""

import math
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from disbench import UsageError
from reference_models.diffusion.shift import DoubleScaleShift, ShiftBranch
from reference_models.diffusion.unet import AttentionMaps, Denoiser, TokenTransformer, n_groups

SMALL = (8, 16, 16, 24)
CONDITIONINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "cross_attention": {"conditioning": "cross_attention", "token_width": 4},
    "adagn": {"conditioning": "adagn", "token_width": 4, "n_tokens": 5},
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(make: Callable[[], nn.Module]) -> int:
    """The size of a module that is never filled."""
    with torch.device("meta"):
        return size(make())


def perturbed(module: Any) -> Any:
    """With every zero that it begins with made a small number, so that all of it matters."""
    for parameter in module.parameters():
        if not parameter.abs().sum():
            nn.init.normal_(parameter, std=0.1)
    return module


def small(conditioning: str, widths: tuple[int, ...] = SMALL, **settings: Any) -> Denoiser:
    return Denoiser(3, widths, **CONDITIONINGS[conditioning] | settings)


def batch(conditioning: str, n: int = 2, side: int = 8) -> tuple[Tensor, ...]:
    """Noisy latents, time steps, and tokens where they are wanted."""
    noisy, timesteps = torch.randn(n, 3, side, side), torch.arange(n) * 300 + 5
    return (noisy, timesteps) if conditioning == "none" else (noisy, timesteps, torch.randn(n, 5, 4))


def attentions(module: nn.Module) -> list[Any]:
    kind = import_module("diffusers.models.attention_processor").Attention
    return [part for part in module.modules() if isinstance(part, kind)]


def test_sizes_of_the_released_denoisers() -> None:
    assert on_meta(Denoiser) == 29_422_467
    assert on_meta(lambda: Denoiser(conditioning="cross_attention", token_width=16)) == 37_469_635
    assert on_meta(lambda: Denoiser(conditioning="cross_attention", token_width=32)) == 37_549_507


def test_size_of_the_shift_branch() -> None:
    assert on_meta(ShiftBranch) == 22_738_691
    assert on_meta(lambda: ShiftBranch(n_units=20)) == 22_738_691


def test_adagn_adds_one_linear_layer() -> None:
    extra = on_meta(lambda: Denoiser(conditioning="adagn", n_tokens=20, token_width=16)) - on_meta(Denoiser)
    assert extra == 20 * 16 * 256 + 256


def test_layout_of_the_released_denoisers() -> None:
    """Twelve skips and blocks; attention twice (thrice) at 16, 8 and 4 and once in the middle; 8 heads; 32 groups."""
    with torch.device("meta"):
        denoiser = Denoiser()
    encoder, decoder = denoiser.encoder, denoiser.decoder
    assert len(encoder.stages) + 1 == len(decoder.stages) == 12
    assert [stage.attention is not None for stage in encoder.stages] == [1, 1, 0] * 3 + [0, 0]
    assert [stage.attention is not None for stage in decoder.stages] == [0] * 3 + [1] * 9
    assert [stage.attention is not None for stage in decoder.middle] == [1, 0]
    assert {part.heads for part in attentions(denoiser)} == {8}
    assert {part.num_groups for part in denoiser.modules() if isinstance(part, nn.GroupNorm)} == {32}


def test_norms_of_the_released_denoisers() -> None:
    """Those in front of a transformer have an epsilon of their own."""
    denoiser = small("cross_attention")
    norms = [part for part in denoiser.modules() if isinstance(part, nn.GroupNorm)]
    of_transformers = [part.norm for part in denoiser.modules() if isinstance(part, TokenTransformer)]
    assert {norm.eps for norm in of_transformers} == {1e-6}
    assert {norm.eps for norm in norms if norm not in of_transformers} == {1e-5}
    assert {norm.eps for norm in small("none").modules() if isinstance(norm, nn.GroupNorm)} == {1e-5}


def test_waves_of_the_time_step_are_cosines_then_sines() -> None:
    with torch.device("meta"):
        waves = Denoiser().waves
    made = waves(torch.tensor([0, 7, 999]))
    for row, t in zip(made, (0, 7, 999), strict=True):
        angles = [t * 10_000 ** (-k / 32) for k in range(32)]
        expected = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
        torch.testing.assert_close(row, torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("in_channels", [1, 3, 4])
@pytest.mark.parametrize("widths", [(16, 32, 64, 64), (8, 8), (24,)])
def test_reduced_widths(in_channels: int, widths: tuple[int, ...]) -> None:
    denoiser = perturbed(Denoiser(in_channels, widths))
    noisy = torch.randn(2, in_channels, 16, 16)
    assert denoiser(noisy, torch.tensor([0, 999])).shape == noisy.shape
    for part in attentions(denoiser):
        assert part.inner_dim == part.query_dim
        assert part.inner_dim // part.heads >= 8


def test_groups_divide_their_width_and_have_two_channels() -> None:
    for width in range(8, 1024, 8):
        assert width % n_groups(width) == 0
        assert width // n_groups(width) >= 2


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_untrained_predicts_nothing(conditioning: str) -> None:
    prediction = small(conditioning)(*batch(conditioning))
    assert torch.equal(prediction, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_untrained_blocks_are_their_shortcuts(conditioning: str) -> None:
    denoiser = small(conditioning)
    residual, attention = denoiser.decoder.middle[0].residual, denoiser.decoder.middle[0].attention
    hidden, embedding = torch.randn(2, SMALL[-1], 4, 4), torch.randn(2, denoiser.embedding_width)
    assert torch.equal(residual(hidden, embedding), hidden)
    tokens = (torch.randn(2, 5, 4),) if conditioning == "cross_attention" else ()
    assert torch.equal(attention(hidden, *tokens), hidden)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_gradients_reach_every_parameter(conditioning: str) -> None:
    denoiser = perturbed(small(conditioning))
    noisy, timesteps, *tokens = batch(conditioning)
    tokens = [values.requires_grad_() for values in tokens]
    denoiser(noisy, timesteps, *tokens).square().sum().backward()
    without = [name for name, weight in denoiser.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without
    assert all(values.grad.any() for values in tokens)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_attention_is_scaled_dot_product_attention(conditioning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], torch.nn.functional.scaled_dot_product_attention

    def counted(*inputs: Tensor, **options: Any) -> Tensor:
        calls.append(inputs)
        return real(*inputs, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    denoiser = small(conditioning)
    denoiser(*batch(conditioning))
    assert len(calls) == len(attentions(denoiser)) == (2 * 16 if conditioning == "cross_attention" else 16)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_prediction_is_decoder_after_encoder(conditioning: str) -> None:
    denoiser = perturbed(small(conditioning))
    noisy, timesteps, *tokens = batch(conditioning)
    embedding = denoiser.embedding(timesteps, *tokens)
    features = denoiser.encode(noisy, embedding, *tokens)
    assert [feature.shape[2] for feature in features] == [8] * 3 + [4] * 3 + [2] * 3 + [1] * 3
    assert torch.equal(denoiser.decode(features, embedding, *tokens), denoiser(noisy, timesteps, *tokens))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_images_and_time_steps_do_not_mix(conditioning: str) -> None:
    denoiser = perturbed(small(conditioning)).eval()
    inputs = batch(conditioning, n=3)
    together = denoiser(*inputs)
    alone = torch.cat([denoiser(*(values[k : k + 1] for values in inputs)) for k in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    later = denoiser(inputs[0], inputs[1] + 50, *inputs[2:])
    assert (later - together).abs().amax((1, 2, 3)).min() > 1e-4


def test_tokens_have_no_order_in_cross_attention_but_in_adagn() -> None:
    for conditioning, has_order in (("cross_attention", False), ("adagn", True)):
        denoiser = perturbed(small(conditioning))
        noisy, timesteps, tokens = batch(conditioning)
        change = (denoiser(noisy, timesteps, tokens.flip(1)) - denoiser(noisy, timesteps, tokens)).abs().max()
        assert (change > 1e-3) == has_order


def test_channels_last_is_the_same() -> None:
    denoiser = perturbed(small("cross_attention"))
    noisy, timesteps, tokens = batch("cross_attention")
    expected = denoiser(noisy, timesteps, tokens)
    denoiser.to(memory_format=torch.channels_last)
    changed = denoiser(noisy.to(memory_format=torch.channels_last), timesteps, tokens)
    torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training() -> None:
    denoiser = perturbed(small("none", dropout=0.5))
    inputs = batch("none")
    assert not torch.equal(denoiser(*inputs), denoiser(*inputs))
    denoiser.eval()
    assert torch.equal(denoiser(*inputs), denoiser(*inputs))


def test_transformer_is_that_of_diffusers() -> None:
    try:
        theirs = import_module("diffusers.models.transformers.transformer_2d").Transformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=16, norm_num_groups=8, cross_attention_dim=4
        )
    except (ImportError, RuntimeError, FutureWarning) as error:
        pytest.skip(f"diffusers' module cannot be imported here: {error}")
    ours = perturbed(TokenTransformer(16, 2, 4))
    theirs.load_state_dict(
        {name.replace("layer.", "transformer_blocks.0."): v for name, v in ours.state_dict().items()}
    )
    hidden, tokens = torch.randn(2, 16, 4, 4), torch.randn(2, 5, 4)
    expected = theirs(hidden, encoder_hidden_states=tokens, return_dict=False)[0]
    torch.testing.assert_close(ours(hidden, tokens), expected)


def test_recording_attention_changes_nothing() -> None:
    denoiser = perturbed(small("cross_attention")).eval()
    inputs = batch("cross_attention")
    expected = denoiser(*inputs)
    with denoiser.recorded_attention() as maps:
        recorded = denoiser(*inputs)
    after = maps.mean()
    torch.testing.assert_close(recorded, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(denoiser(*inputs), expected)
    assert torch.equal(maps.mean(), after)


def test_attention_maps_are_shares_of_every_position() -> None:
    denoiser = perturbed(small("cross_attention"))
    with denoiser.recorded_attention() as maps:
        denoiser(*batch("cross_attention", n=3))
        denoiser(*batch("cross_attention", n=3))
    mean = maps.mean()
    assert mean.shape == (3, 5, 8, 8)
    assert not mean.requires_grad
    assert mean.min() > 0
    torch.testing.assert_close(mean.sum(1), torch.ones(3, 8, 8))
    assert maps.counts == {8: 2 * 5, 4: 2 * 5, 2: 2 * 5, 1: 2 * 1}


def test_attention_map_of_one_site() -> None:
    """Query, key and softmax written out for one position and head after another."""
    denoiser = perturbed(Denoiser(3, (16,), conditioning="cross_attention", token_width=4))
    cross = next(part for part in attentions(denoiser) if part.is_cross_attention)
    positions, tokens = torch.randn(1, 9, 16), torch.randn(1, 3, 4)
    with denoiser.recorded_attention() as maps:
        cross(positions, encoder_hidden_states=tokens)
    queries, keys = positions[0] @ cross.to_q.weight.T, tokens[0] @ cross.to_k.weight.T
    for p in range(9):
        shares = torch.zeros(3)
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            shares += (keys[:, part] @ queries[p, part] / math.sqrt(8)).softmax(0) / 2
        torch.testing.assert_close(maps.mean()[0, :, p // 3, p % 3], shares)


def test_attention_maps_of_mixed_precision_are_in_full_precision() -> None:
    denoiser = perturbed(small("cross_attention"))
    with torch.autocast("cpu", torch.bfloat16), denoiser.recorded_attention() as maps:
        denoiser(*batch("cross_attention"))
    assert maps.mean().dtype == torch.float32
    torch.testing.assert_close(maps.mean().sum(1), torch.ones(2, 8, 8))


def test_maps_refuse_what_they_do_not_have() -> None:
    with pytest.raises(UsageError, match="need conditioning=cross_attention"), small("adagn").recorded_attention():
        pass
    with pytest.raises(UsageError, match="no attention was recorded"):
        AttentionMaps().mean()


def test_double_scale_and_shift_is_one_after_the_other() -> None:
    double = DoubleScaleShift(nn.Linear(6, 8))
    embedding, normed = torch.randn(5, 12), torch.randn(5, 4)
    (scale, shift), (then_scale, then_shift) = (
        layer(part).chunk(2, 1)
        for layer, part in zip((double.time, double.condition), embedding.chunk(2, 1), strict=True)
    )
    expected = (normed * (1 + scale) + shift) * (1 + then_scale) + then_shift
    made_scale, made_shift = double(embedding).chunk(2, 1)
    torch.testing.assert_close(normed * (1 + made_scale) + made_shift, expected)


def branch_and_inputs(n: int = 2, n_units: int = 3) -> tuple[Denoiser, ShiftBranch, list[Tensor], Tensor, Tensor]:
    denoiser = perturbed(small("none"))
    branch = ShiftBranch(3, SMALL, n_units=n_units, unit_width=6)
    noisy, timesteps = batch("none", n)
    embedding = denoiser.embedding(timesteps)
    return denoiser, branch, denoiser.encode(noisy, embedding), embedding, torch.randn(n, n_units, 6)


def test_untrained_shift_is_nothing() -> None:
    _, branch, *inputs = branch_and_inputs()
    assert torch.equal(branch(*inputs), torch.zeros(2, 3, 3, 8, 8))


def test_units_in_one_pass_are_those_of_a_loop() -> None:
    _, branch, features, embedding, units = branch_and_inputs()
    perturbed(branch)
    together = branch(features, embedding, units)
    assert together.shape == (2, 3, 3, 8, 8)
    rotation = torch.linalg.matrix_exp(branch.generator - branch.generator.T)
    for k in range(3):
        of_time = embedding + branch.unit(rotation[k])
        alone = branch.decoder(features, torch.cat((of_time, branch.condition(units[:, k])), 1))
        torch.testing.assert_close(together[:, k], alone, rtol=1e-4, atol=1e-5)
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3


def test_units_are_told_apart_by_number() -> None:
    _, branch, features, embedding, units = branch_and_inputs()
    same = units[:, :1].expand_as(units)
    shifts = perturbed(branch)(features, embedding, same)
    assert (shifts[:, 0] - shifts[:, 1]).abs().max() > 1e-3


def test_rotation_is_orthogonal_in_mixed_precision_too() -> None:
    branch = ShiftBranch(3, (64,), n_units=128)
    with torch.autocast("cpu", torch.bfloat16):
        rotation = branch.rotation()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(128), rtol=0, atol=1e-4)


def test_gradients_reach_the_branch_and_the_units_alone() -> None:
    denoiser, branch, features, embedding, units = branch_and_inputs()
    units.requires_grad_()
    perturbed(branch)(features, embedding, units).square().sum().backward()
    without = [name for name, weight in branch.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without
    assert units.grad is not None
    assert units.grad.flatten(2).any(2).all()
    assert all(weight.grad is None for weight in denoiser.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": ()}, "multiples of 8"),
        ({"widths": (8, 12)}, r"multiples of 8, from 8 on; got \[8, 12\]"),
        ({"conditioning": "adagm"}, "did you mean 'adagn'"),
        ({"conditioning": "cross_attention"}, "needs a token_width of 1 or more"),
        ({"conditioning": "adagn", "token_width": 4}, "needs n_tokens of 1 or more"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Denoiser(**settings)


def test_refuses_inputs() -> None:
    noisy, timesteps, tokens = batch("adagn")
    with pytest.raises(UsageError, match="conditioning=none takes no tokens"):
        small("none")(noisy, timesteps, tokens)
    with pytest.raises(UsageError, match=r"takes tokens \(n, N, 4\); got none"):
        small("cross_attention")(noisy, timesteps)
    with pytest.raises(UsageError, match=r"tokens \(n, N, 4\); got shape \(2, 5, 3\)"):
        small("cross_attention")(noisy, timesteps, tokens[:, :, 1:])
    with pytest.raises(UsageError, match=r"tokens \(n, 5, 4\); got shape \(2, 4, 4\)"):
        small("adagn")(noisy, timesteps, tokens[:, 1:])
    with pytest.raises(UsageError, match="multiples of 8; got 8 x 6"):
        small("none")(noisy[..., 2:], timesteps)
    _, branch, features, embedding, units = branch_and_inputs()
    with pytest.raises(UsageError, match=r"takes units \(n, 3, 6\); got shape \(2, 2, 6\)"):
        branch(features, embedding, units[:, 1:])
    with pytest.raises(UsageError, match="allows 1 to 16 units; got 17"):
        ShiftBranch(3, SMALL, n_units=17)


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "diffusers"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"needs diffusers; install it with: pip install 'disbench\[models\]'"):
        Denoiser()
