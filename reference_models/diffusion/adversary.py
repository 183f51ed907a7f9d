"""The patch discriminator that first stages are trained against, with its losses and the weight that balances them.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004), as used by
Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis" (arXiv 2012.09841), section 3.1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from reference_models.objectives import full_precision

_SLOPE = 0.2
_MOST, _OFFSET = 1e4, 1e-4  # of the adaptive weight: its bound, and what keeps it from a division by zero


class PatchDiscriminator(nn.Module):
    """Images (n, c, h, w) in [-1, 1] -> logits (n, 1, h / 8 - 2, w / 8 - 2) of "real", each of a patch."""

    def __init__(self, n_channels: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(n_channels, filters, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for k, stride in enumerate((2, 2, 1)):
            n_inputs = filters * 2**k
            layers += [
                nn.Conv2d(n_inputs, 2 * n_inputs, 4, stride, 1, bias=False),
                nn.BatchNorm2d(2 * n_inputs),
                nn.LeakyReLU(_SLOPE),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(8 * filters, 1, 4, 1, 1))
        self.apply(_normal_init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the patches."""
        return self.body(images)


def _normal_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def hinge_loss(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss, from its logits of real images and of made ones: half the sum of two mean hinges."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())


def generator_loss(made: Tensor) -> Tensor:
    """What makes images that the discriminator takes for real: -mean of its logits of them."""
    return -made.mean()


def adaptive_weight(fidelity: Tensor, generator: Tensor, last_layer: Tensor, weight: float) -> Tensor:
    """The weight of the generator's loss that makes its pull on the last layer `weight` times that of the fidelity.

    weight * clamp(|d fidelity / d last_layer| / (|d generator / d last_layer| + 1e-4), 0, 1e4), without a gradient.
    The graphs of both losses stay. Source: Esser et al. 2021, equation 7.
    """
    pulls = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm() for loss in (fidelity, generator)]
    return weight * (pulls[0] / (pulls[1] + _OFFSET)).clamp(0, _MOST).detach()


def adversarial_terms(
    discriminator: nn.Module,
    images: Tensor,
    reconstructions: Tensor,
    fidelity: Tensor,
    last_layer: Tensor,
    weight: float,
) -> dict[str, Tensor]:
    """Both players' losses of one batch, to be added up: each gives gradients to its own player alone.

    The reconstructions are judged with the discriminator's weights held fixed, and it learns from detached ones.
    Real and made images are normalised apart, each batch by its own statistics.

    Args:
        discriminator: images -> logits.
        images: (n, c, h, w) in [-1, 1].
        reconstructions: likewise, with the graph behind them.
        fidelity: how far they are from the images, 0-d, with its graph.
        last_layer: the parameter that made the reconstructions, on which both pulls are compared.
        weight: of the pull that the discriminator gets.

    Returns:
        `generator`, `adaptive_weight` to multiply it by, and `discriminator`: 0-d.
    """
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    generator = generator_loss(full_precision(functional_call(discriminator, fixed, (reconstructions,))))
    real, made = (full_precision(discriminator(batch)) for batch in (images, reconstructions.detach()))
    return {
        "generator": generator,
        "adaptive_weight": adaptive_weight(fidelity, generator, last_layer, weight),
        "discriminator": hinge_loss(real, made),
    }


def terms_at_rest(discriminator: nn.Module) -> dict[str, Tensor]:
    """The same terms before the discriminator begins: all 0, with gradients of 0 for each of its parameters.

    Processes that train together wait for a gradient of every parameter.
    """
    rest = torch.stack([0 * parameter.sum() for parameter in discriminator.parameters()]).sum()
    zero = rest.detach()
    return {"generator": zero, "adaptive_weight": zero.clone(), "discriminator": rest}
