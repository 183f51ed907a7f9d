"""The noise schedules and DDIM in float64, one time step and number at a time."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

TOLERANCE = 1e-10
N_TIMESTEPS = 1000
FIRST, LAST = 0.0015, 0.0155


def line(first: float, last: float, t: int) -> float:
    return first + (last - first) * t / (N_TIMESTEPS - 1)


def cosine(t: float) -> float:
    """The share of variance that is left after a part t of the time, but for a factor."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


BETAS: dict[str, Callable[[int], float]] = {
    "scaled_linear": lambda t: line(math.sqrt(FIRST), math.sqrt(LAST), t) ** 2,
    "linear": lambda t: line(FIRST, LAST, t),
    "sqrt": lambda t: math.sqrt(line(FIRST, LAST, t)),
    "cosine": lambda t: min(0.999, 1 - cosine((t + 1) / N_TIMESTEPS) / cosine(t / N_TIMESTEPS)),
}


def products(name: str) -> np.ndarray:
    """The products of 1 - beta up to each time step."""
    product, values = 1.0, []
    for t in range(N_TIMESTEPS):
        product *= 1 - BETAS[name](t)
        values.append(product)
    return np.array(values)


def noise_of_normal(product: float, deviation: float) -> float:
    """For data N(0, deviation^2), what x_t is multiplied by to give the expected noise in it.

    x_t = sqrt(p) x_0 + sqrt(1 - p) e has variance p s^2 + 1 - p and covariance sqrt(1 - p) with e.
    """
    return math.sqrt(1 - product) / (product * deviation**2 + 1 - product)


def ddim_factor_of_normal(products_on_the_way: Sequence[float], deviation: float) -> float:
    """What DDIM with that prediction and without fresh noise multiplies x_T by, from the noisiest level to the last."""
    factor = 1.0
    for here, there in pairwise(products_on_the_way):
        noise = noise_of_normal(here, deviation)
        clean = (1 - math.sqrt(1 - here) * noise) / math.sqrt(here)
        factor *= math.sqrt(there) * clean + math.sqrt(1 - there) * noise
    return factor


def ddim_variance_of_normal(products_on_the_way: Sequence[float], deviation: float, eta: float) -> float:
    """The variance of what DDIM makes of x_T of variance 1 with fresh noise, for the same data."""
    variance = 1.0
    for here, there in pairwise(products_on_the_way):
        fresh = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
        noise = noise_of_normal(here, deviation)
        clean = (1 - math.sqrt(1 - here) * noise) / math.sqrt(here)
        variance = variance * (math.sqrt(there) * clean + math.sqrt(1 - there - fresh) * noise) ** 2 + fresh
    return variance


def levels(name: str, timesteps: Sequence[int]) -> list[float]:
    """The products that sampling goes through: those of its time steps from the last, then that of step 0."""
    values = products(name)
    return [*(values[t] for t in reversed(timesteps)), values[0]]
