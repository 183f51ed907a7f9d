"""Encoders and token MLPs: sizes, and the batched MLPs against a loop."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference_models.diffusion.encoders import Encoder4, PaperEncoder, ResidualBlock, ScalarTokens, StackedLinear


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(n: int, n_channels: int = 3) -> torch.Tensor:
    return 2 * torch.rand(n, n_channels, 64, 64, generator=torch.Generator().manual_seed(n)) - 1


def test_sizes_of_the_released_encoder() -> None:
    with torch.device("meta"):
        encoder, tokens = Encoder4(3, 20), ScalarTokens(20, 16)
    assert size(encoder.trunk) == 1_123_072
    assert size(encoder) == 1_164_052
    assert size(tokens) == 210_240
    assert size(encoder) + size(tokens) == 1_374_292


def test_size_of_the_paper_encoder() -> None:
    """Added up layer by layer from the widths that the paper gives."""
    convolutions = [(3, 64, 7), (64, 128, 4), (128, 256, 4), (256, 256, 4), (256, 256, 4)]
    linears = [(4096, 256), (256, 256), (256, 20)]
    with torch.device("meta"):
        encoder = PaperEncoder(3, 20)
    expected = sum(b * (a * k * k + 1) for a, b, k in convolutions) + sum(b * (a + 1) for a, b in linears)
    assert size(encoder) == expected == 3_882_644


@pytest.mark.parametrize("kind", [Encoder4, PaperEncoder])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_shapes_and_gradients(kind: type[nn.Module], n_channels: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = kind(n_channels, 5, width=8)
    codes = encoder(images(4, n_channels))
    assert codes.shape == (4, 5)
    (codes - 1).square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in encoder.parameters() if weight.ndim > 1)


def test_third_convolution_has_no_relu() -> None:
    kinds = "".join({nn.Conv2d: "c", nn.BatchNorm2d: "b", nn.ReLU: "r"}.get(type(layer), "o") for layer in
                    Encoder4(3, 5, width=8).trunk)  # fmt: skip
    assert kinds == "cbr" + "cbr" + "cb" + "cbr" + "obr" + "o" + "o"


def test_residual_block() -> None:
    block = ResidualBlock(8).eval()
    features = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    _, wide, norm, _, narrow = block.body
    expected = before + narrow(F.relu(norm(wide(F.relu(before)))))
    torch.testing.assert_close(block(features), expected)
    assert torch.equal(features, before)


@pytest.mark.parametrize(("n_tokens", "token_width", "widths"), [(20, 16, (64, 128)), (1, 3, (4,)), (6, 32, (8, 16))])
def test_tokens_are_those_of_separate_mlps(n_tokens: int, token_width: int, widths: tuple[int, ...]) -> None:
    tokens = ScalarTokens(n_tokens, token_width, widths).double()
    scalars = torch.randn(7, n_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = tokens(scalars)
    assert made.shape == (7, n_tokens, token_width)
    for k in range(n_tokens):
        hidden = scalars[:, k : k + 1]
        for depth, stacked in enumerate(tokens.layers):
            layer = nn.Linear(*stacked.weight.shape[1:]).double()
            layer.weight.data, layer.bias.data = stacked.weight[k].T, stacked.bias[k, 0]
            hidden = layer(F.elu(hidden) if depth else hidden)
        torch.testing.assert_close(made[:, k], hidden)


def test_a_scalar_moves_its_own_token_alone() -> None:
    tokens = ScalarTokens(4, 3)
    scalars = torch.zeros(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(tokens(scalars)[0, 2].sum(), scalars)
    assert gradient.nonzero()[:, 1].tolist() == [2]


def test_stacked_layers_start_as_torch_does() -> None:
    """Uniform weights and biases, up to 1 / sqrt(n_inputs), of one deviation in every layer."""
    stacked = StackedLinear(5, 64, 128)
    plain = nn.Linear(64, 128)
    assert stacked.weight.abs().max() <= 1 / math.sqrt(64)
    assert stacked.bias.abs().max() <= 1 / math.sqrt(64)
    for weight in stacked.weight:
        assert weight.std().item() == pytest.approx(plain.weight.std().item(), rel=0.05)
    assert stacked.bias.std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.1)
