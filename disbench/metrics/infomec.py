"""InfoMEC: modularity, explicitness and compactness, from information."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import UsageError
from disbench.metrics._information import entropies, mutual_information
from disbench.metrics._linear import softmax_regression
from disbench.metrics._memory import require_memory
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued

_SPREADS = ("range", "interquartile")


@dataclass(frozen=True)
class Settings:
    """Settings of InfoMEC; the defaults are those of the file that its authors published for others to use."""

    num_train: int = 10_000  # samples
    neighbours: int = 10  # in the estimate of information, for continuous codes
    quantised: bool = False  # whether the codes take few values: information is counted, InfoE sees one input per value
    spread: str = "range"  # by which codes are active: range or interquartile (range)
    least_share: float = 0.05  # of the largest spread; active continuous codes have more
    least_spread: float = 0.0  # in units of the codes; active quantised codes have more
    smoothing: float = 0.0  # added to the sum of all codes' N[d, k] in InfoC
    none_active_is_zero: bool = False  # all three values are 0, rather than undefined, if no code is active

    def __post_init__(self) -> None:
        check_numbers(self, "infomec.")
        if self.spread not in _SPREADS:
            raise UsageError(f"infomec.spread must be {' or '.join(_SPREADS)}; got {self.spread!r}.")


@dataclass(frozen=True)
class Dyga(Settings):
    """As the code of DyGA has it."""

    spread: str = "interquartile"
    least_share: float = 0.1
    least_spread: float = 0.1
    smoothing: float = 1e-6
    none_active_is_zero: bool = True


def infomec(
    codes: Codes,
    factors: Factors,
    *,
    neighbours: int = 10,
    quantised: bool = False,
    spread: str = "range",
    least_share: float = 0.05,
    least_spread: float = 0.0,
    smoothing: float = 0.0,
    none_active_is_zero: bool = False,
    seed: int = 0,
) -> Score:
    """How far codes inform about one factor each, tell the factors by a linear rule, and share no factor.

    N[d, k] = I(z_d; v_k) / H(v_k) for the D active codes and K factors, 1 for a code that tells all about a factor.
    InfoM = (mean_d max_k N[d, k] / sum_k N[d, k] - 1/K) / (1 - 1/K); InfoC is the same with d and k exchanged.
    InfoE = mean_k (ln n_k - loss_k) / ln n_k, with n_k the number of classes and loss_k the log loss, in nats, of an
    unpenalised logistic regression on all codes, fitted with every class counting alike, and scored on the same samples
    with every sample counting alike. I is Ross's estimate from nearest neighbours, or counted for quantised codes.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        neighbours: in the estimate of information of continuous codes.
        quantised: whether the codes take few values.
        spread: `range` or `interquartile`: of what an active code has much.
        least_share: a continuous code is active if its spread is more than this share of the largest.
        least_spread: a quantised code is active if its spread is more than this.
        smoothing: added to the sum over d in InfoC.
        none_active_is_zero: all three values are then 0.
        seed: of the noise (1e-10 standard deviations) that parts equal continuous codes.

    Returns:
        `infomec.infom` and `infomec.infoc` in 0 ... 1, `infomec.infoe` at most 1 (0 for codes that tell nothing, and
        perhaps less where classes are of unequal size), higher is better. Details: `normalised_information` (d, k) of
        all codes, `active` (d,), `entropy` and `explicitness` (k,).

    Undefined when:
        a factor takes a single value (its entropy is 0). InfoM: with one factor, with no active code, or if no active
        code informs about anything. InfoC: with fewer than two active codes, or likewise. A code, and in InfoC a
        factor, with no information at all is left out of the mean, and a constant code has none; if all are constant
        InfoE is 0. A class of one sample has no neighbour and is left out of the estimate; about a factor that has no
        other class there is no information.

    Raises:
        DisbenchError: quantised codes take so many values that one input per value would not fit in memory.

    Source:
        Hsu et al. 2023, "Disentanglement via Latent Quantization", which introduces InfoMEC; Ross 2014, "Mutual
        Information between Discrete and Continuous Data Sets".

    Matches:
        the authors' infomec.py (latent_quantization at 9a420a3) on every stored case of tests/golden/infomec.json:
        InfoM and InfoC to 1e-5 with numpy's generator seeded alike (another seed moves codes with many equal values by
        about 1e-3), InfoE to 0.005, as the stored regression stops after 100 steps.

    Differs from:
        the authors' file, which gives NaN for one active code, one factor, or an active code that knows nothing, and
        gives constant codes the information of its noise. scikit-learn's estimator, which for classes of at most twice
        as many samples as neighbours takes distances from rounded squares (here: exact). The authors' training-time
        code, with 3 neighbours and active codes by an eighth of the largest range. DyGA's code, which is the variant
        `infomec@dyga`; it can fall below 0 in InfoC (here: 0).
    """
    settings = Settings(
        neighbours=neighbours,
        quantised=quantised,
        spread=spread,
        least_share=least_share,
        least_spread=least_spread,
        smoothing=smoothing,
        none_active_is_zero=none_active_is_zero,
    )
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(seed), settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """InfoMEC of the rows of `codes` that the draw's part `train` names; see `infomec`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if names := single_valued(factors, draw.factor_names):
        reason = f"{names} takes a single value here, so its entropy is 0; leave it out of the factors"
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    active = _active(codes, settings)
    details: dict[str, object] = {"active": active.tolist()}
    if settings.none_active_is_zero and not bool(active.any()):
        return Score({value.name: 0.0 for value in METRIC.values}, details)

    inputs = codes
    if settings.quantised:
        labels = _labels(codes)
        inputs = _one_per_value(labels)
        information = mutual_information(labels, factors, int(labels.max()) + 1)
    else:
        from disbench.metrics._neighbours import neighbour_information  # brings in the compiler

        table = neighbour_information(codes.cpu().numpy(), factors.cpu().numpy(), settings.neighbours, draw.seed)
        information = torch.from_numpy(table).to(codes.device)
    entropy = entropies(factors)
    information = information / entropy
    explicit = _explicitness(inputs, factors)
    details |= {
        "normalised_information": information.tolist(),
        "entropy": entropy.tolist(),
        "explicitness": explicit.tolist(),
    }

    values: dict[str, float] = {"infomec.infoe": explicit.mean().item()}
    undefined: dict[str, str] = {}
    of_active = information[active]
    for name, found in (
        ("infomec.infom", _concentration(of_active, "there is only one factor, so no code can inform about another")),
        ("infomec.infoc", _concentration(of_active.T, "only one code is active", settings.smoothing)),
    ):
        if isinstance(found, str):
            undefined[name] = found
        else:
            values[name] = found
    return Score(values, details, undefined)


def _active(codes: Codes, settings: Settings) -> Tensor:
    """bool (d,): which codes have enough spread."""
    ordered = codes.double().sort(dim=0).values
    if settings.spread == "range":
        spread = ordered[-1] - ordered[0]
    else:
        spread = _quantile(ordered, 0.75) - _quantile(ordered, 0.25)
    return spread > (settings.least_spread if settings.quantised else settings.least_share * spread.max())


def _quantile(ordered: Tensor, share: float) -> Tensor:
    """(d,): of ascending columns (n, d), linear between the two nearest."""
    at = share * (len(ordered) - 1)
    below = ordered[math.floor(at)]
    return below + (at - math.floor(at)) * (ordered[math.ceil(at)] - below)


def _labels(codes: Codes) -> Tensor:
    """int64 (n, d): which of its code's values each is, numbered from 0 in ascending order."""
    ordered, order = codes.sort(dim=0)
    rank = (ordered[1:] != ordered[:-1]).long().cumsum(0)
    return torch.zeros_like(order).scatter_(0, order[1:], rank)


def _one_per_value(labels: Tensor) -> Tensor:
    """float32 (n, all values of all codes): 1 for the value that a code has."""
    sizes = labels.amax(0) + 1
    n_values = int(sizes.sum())
    n_bytes = 8 * n_values * (4 * len(labels) + n_values)  # copies, and their products with each other
    require_memory(n_bytes, labels.device, f"one input for each of {n_values:,} values of codes")
    inputs = torch.zeros(len(labels), n_values, device=labels.device)
    return inputs.scatter_(1, labels + sizes.cumsum(0) - sizes, 1)


def _explicitness(inputs: Tensor, factors: Factors) -> Tensor:
    """float64 (k,): by which share a regression on the inputs lowers the log loss of guessing among the classes."""
    fitted = softmax_regression(inputs, factors, penalty=0, balanced=True)
    found = []
    for column, log_probabilities in zip(factors.T, fitted.log_probabilities(inputs), strict=True):
        loss = -log_probabilities.gather(1, column[:, None]).mean()
        found.append(1 - loss / math.log(len(column.unique())))
    return torch.stack(found)


def _concentration(information: Tensor, single: str, smoothing: float = 0.0) -> float | str:
    """Mean over rows of the largest entry's share, from 0 for even shares to 1 for one entry; or why there is none."""
    n_rows, n_columns = information.shape
    if not (n_rows and n_columns):
        return "no code is active"
    if n_columns == 1:
        return single
    total = information.sum(1) + smoothing
    informed = total > 0
    if not bool(informed.any()):
        return "no active code informs about any factor"
    share = (information.amax(1)[informed] / total[informed]).mean()
    return ((share - 1 / n_columns) / (1 - 1 / n_columns)).clamp(0, 1).item()


_OF_ACTIVE = INVARIANCES - {"scaling codes"}  # a code that is scaled down is not active any more

METRIC = Metric(
    name="infomec",
    version=1,
    values=(
        ValueSpec("infomec.infom", "each code informs about one factor only", invariant_to=_OF_ACTIVE),
        ValueSpec("infomec.infoe", "the factors can be told from the codes by a linear rule", low=-math.inf),
        ValueSpec("infomec.infoc", "each factor is in one code only", invariant_to=_OF_ACTIVE),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{hsu2023disentanglement, title={Disentanglement via Latent Quantization}, author={Hsu, Kyle and "
        "Dorrell, William and Whittington, James C. R. and Wu, Jiajun and Finn, Chelsea}, booktitle={NeurIPS}, "
        "year={2023}}"
    ),
    tolerance=0.02,  # equal codes are parted by noise that goes by a sample's place, and a code's
)
VARIANTS = (METRIC.variant("dyga", Dyga),)
