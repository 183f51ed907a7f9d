"""Networks that several reference models share."""

from __future__ import annotations

from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """The encoder of the 2019 study: images (n, c, 64, 64) -> mean and log-variance, (n, d) each."""

    def __init__(self, n_channels: int, n_codes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_channels, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 2, 2), nn.ReLU(),
            nn.Conv2d(64, 64, 2, 2), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1024, 256), nn.ReLU(),
        )  # fmt: skip
        self.mean = nn.Linear(256, n_codes)
        self.log_variance = nn.Linear(256, n_codes)
        self.apply(glorot_init)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(code | image)."""
        hidden = self.body(images)
        return self.mean(hidden), self.log_variance(hidden)


class DeconvDecoder(nn.Module):
    """The decoder of the 2019 study: codes (n, d) -> Bernoulli logits (n, c, 64, 64)."""

    def __init__(self, n_channels: int, n_codes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_codes, 256), nn.ReLU(),
            nn.Linear(256, 1024), nn.ReLU(),
            nn.Unflatten(1, (64, 4, 4)),
            nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, n_channels, 4, 2, 1),
        )  # fmt: skip
        self.apply(glorot_init)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of the pixels."""
        return self.body(codes)


class Discriminator(nn.Module):
    """FactorVAE's in the 2019 study: codes (n, d) -> logits (n, 2) of "a code of an image" and "a permuted code"."""

    def __init__(self, n_codes: int, width: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_inputs in (n_codes, *[width] * 5):
            layers += [nn.Linear(n_inputs, width), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Linear(width, 2))
        self.apply(glorot_init)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of the two classes."""
        return self.body(codes)


def glorot_init(module: nn.Module) -> None:
    """TensorFlow's defaults, which the study ran with: Glorot uniform weights, zero biases."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
