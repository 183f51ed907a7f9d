"""What first stages are trained with, in float64, one vector, logit and latent at a time."""

import math

import numpy as np

TOLERANCE = 1e-10


def quantise(latents: np.ndarray, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, d, h, w) with each (d,) replaced by the nearest of codebook (k, d), and which one: (n, h, w)."""
    quantised, chosen = np.empty_like(latents), np.empty((len(latents), *latents.shape[2:]), dtype=int)
    for place in np.ndindex(chosen.shape):
        n, row, column = place
        vector = latents[n, :, row, column]
        squares = [sum((vector[c] - entry[c]) ** 2 for c in range(len(vector))) for entry in codebook]
        chosen[place] = squares.index(min(squares))
        quantised[n, :, row, column] = codebook[chosen[place]]
    return quantised, chosen


def quantisation_loss(latents: np.ndarray, quantised: np.ndarray, beta: float) -> float:
    """The latents' way to the codebook weighs 1, the codebook's to them `beta`; as numbers both are the same square."""
    total = sum((z - e) ** 2 for z, e in zip(latents.ravel(), quantised.ravel(), strict=True)) / latents.size
    return total + beta * total


def quantisation_gradients(
    latents: np.ndarray, codebook: np.ndarray, beta: float, downstream: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of latents and codebook, where the decoder's loss has the gradient `downstream` at quantised latents.

    That passes to the latents as if nothing had been quantised, and does not reach the codebook.
    """
    quantised, chosen = quantise(latents, codebook)
    of_latents, of_codebook = np.array(downstream, dtype=float), np.zeros_like(codebook)
    for n, c, row, column in np.ndindex(latents.shape):
        apart = latents[n, c, row, column] - quantised[n, c, row, column]
        of_latents[n, c, row, column] += 2 * apart / latents.size
        of_codebook[chosen[n, row, column], c] -= beta * 2 * apart / latents.size
    return of_latents, of_codebook


def perplexity(chosen: np.ndarray) -> float:
    """exp of the entropy in nats."""
    places = list(chosen.ravel())
    shares = [places.count(choice) / len(places) for choice in set(places)]
    return math.exp(-sum(share * math.log(share) for share in shares))


def hinge_loss(real: np.ndarray, made: np.ndarray) -> float:
    """Real logits below 1 and made ones above -1 cost what they lack."""
    of_real = sum(1 - logit for logit in real.ravel() if logit < 1) / real.size
    of_made = sum(1 + logit for logit in made.ravel() if logit > -1) / made.size
    return (of_real + of_made) / 2


def adaptive_weight(of_fidelity: np.ndarray, of_generator: np.ndarray, weight: float) -> float:
    """From both gradients of the last layer."""
    lengths = [math.sqrt(sum(v * v for v in gradient.ravel())) for gradient in (of_fidelity, of_generator)]
    return weight * min(lengths[0] / (lengths[1] + 1e-4), 1e4)


def kl(mean: np.ndarray, log_variance: np.ndarray) -> float:
    """To N(0, 1), summed over the latents (c, h, w) of an image, mean over images."""
    total = 0.0
    for place in np.ndindex(mean.shape):
        variance = math.exp(log_variance[place])
        total += -math.log(math.sqrt(variance)) + (variance + mean[place] ** 2) / 2 - 0.5
    return total / len(mean)
