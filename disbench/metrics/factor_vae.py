"""FactorVAE score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError, UsageError
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, draw_seed

_MAX_GATHERED = 2**18  # code values gathered at once, few enough for a cache; bounds memory, not the result


@dataclass(frozen=True)
class Settings:
    """Sizes and threshold of the FactorVAE score; the defaults are the 2019 study's."""

    num_variance_estimate: int = 10_000  # samples for the global variance of each code
    num_train: int = 10_000  # votes that make the classifier
    num_eval: int = 5_000  # votes that it is scored on
    batch_size: int = 64  # samples that share one factor and cast one vote
    prune_threshold: float = 0.05  # codes with a smaller standard deviation cast no vote

    def __post_init__(self) -> None:
        check_numbers(self, "factor_vae.")
        for name in ("num_variance_estimate", "batch_size"):
            if getattr(self, name) < 2:
                raise UsageError(f"factor_vae.{name} must be at least 2 for a variance; got {getattr(self, name)}.")


def factor_vae(
    codes: Codes,
    factors: Factors,
    *,
    num_variance_estimate: int = 10_000,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    prune_threshold: float = 0.05,
    seed: int = 0,
) -> Score:
    """Accuracy of telling which factor a batch shares from which code varies least in it.

    In a batch that shares factor k, the active code with the smallest var_batch / var_global votes:
    d* = argmin_d var_batch[d] / var_global[d] (lowest d on a tie), V[k, d*] += 1. The classifier maps each code to the
    factor with most of its training votes (lowest k on a tie); the score is its accuracy on fresh votes. A code is
    active if its standard deviation is at least `prune_threshold` and above 0. Variances have ddof 1.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k); the rows hold every combination, in any order.
        num_variance_estimate: samples for the global variances.
        num_train: votes that make the classifier.
        num_eval: votes that it is scored on.
        batch_size: samples that share a factor and cast one vote.
        prune_threshold: least standard deviation of an active code, in the units of the codes.
        seed: of the draws.

    Returns:
        `factor_vae` in 0 ... 1, higher is better; chance is about 1 / k. Details: `train_accuracy`, `votes_train` and
        `votes_eval` (k, d), `global_variance` (d,), `n_active_codes`.

    Undefined when:
        fewer than two factors take more than one value: every vote would be right.
        With no active code the score is 0, as in the reference.

    Raises:
        DisbenchError: the rows lack combinations, so no factor can be held fixed.

    Source:
        Kim and Mnih 2018, "Disentangling by Factorising", section 4.

    Matches:
        disentanglement_lib 1.5 `factor_vae_score`: exactly from its votes, and within sampling error from own draws,
        on every case of tests/golden/factor_vae.json and matrices.npz.

    Differs from:
        disentanglement_lib, in whose vote table columns stand for positions among the active codes (here: codes),
        whose number of active codes is the number of all codes (here: counted), in which a constant code takes every
        vote when the threshold is 0 (here: never active) and which also draws factors that take a single value
        (here: they cannot be told by any code and are never the shared factor). disent, which never prunes.
    """
    settings = Settings(num_variance_estimate, num_train, num_eval, batch_size, prune_threshold)
    rows = check_rows(codes, factors)
    found = rows.draw(METRIC, settings, Generator().manual_seed(seed), seed)
    if isinstance(found, str):
        raise DisbenchError(f"the FactorVAE score holds factors fixed: {found}.")
    return score(rows.codes, found, settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """Samples for the global variance, then batches that share one factor, for training and for evaluation."""
    values = space.draw(settings.num_variance_estimate, generator)
    indices, labels = {"variance": space.index(values)}, {"varying": space.varying}
    for part, n_votes in (("train", settings.num_train), ("eval", settings.num_eval)):
        values, shared = space.draw_fixed(n_votes, settings.batch_size, generator)
        indices[part], labels[part] = space.index(values), shared
    return Draw(indices, labels, space.names, draw_seed(generator))


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """FactorVAE score of the rows of `codes` that the draw names; see `factor_vae`."""
    n_factors = len(draw.factor_names)
    if len(draw.labels["varying"]) < 2:
        return Score({}, undefined={"factor_vae": "with fewer than two factors that vary every vote is right"})
    global_variance = codes[draw.indices["variance"]].double().var(0)
    active = (global_variance.sqrt() >= settings.prune_threshold) & (global_variance > 0)
    n_active = int(active.sum())
    details = {"global_variance": global_variance.tolist(), "n_active_codes": n_active}
    if not n_active:
        return Score({"factor_vae": 0.0}, details | {"train_accuracy": 0.0})
    votes = {
        part: _votes(codes, draw.indices[part], draw.labels[part], global_variance, active, n_factors)
        for part in ("train", "eval")
    }
    train_accuracy, eval_accuracy = accuracy_of_votes(votes["train"], votes["eval"])
    tables = {f"votes_{part}": table.tolist() for part, table in votes.items()}
    return Score({"factor_vae": eval_accuracy}, details | tables | {"train_accuracy": train_accuracy})


def accuracy_of_votes(train: Tensor, evaluation: Tensor) -> tuple[float, float]:
    """Accuracy of the majority classifier made from training votes, on them and on evaluation votes; both (k, d)."""
    factor_of_code = train.argmax(0)  # the first maximum: ties and codes without votes go to the lowest factor
    correct = [
        votes.gather(0, factor_of_code[None]).sum() / votes.sum() for votes in (train.double(), evaluation.double())
    ]
    return correct[0].item(), correct[1].item()


def _votes(
    codes: Codes, rows: Tensor, shared: Tensor, global_variance: Tensor, active: Tensor, n_factors: int
) -> Tensor:
    """int64 (k, d): how often batches that share factor k vote for code d."""
    n_codes = codes.shape[1]
    at_once = max(1, _MAX_GATHERED // (rows.shape[1] * n_codes))
    relative = torch.cat([_variances(codes, some) / global_variance for some in rows.split(at_once)])
    voted = relative.masked_fill(~active, torch.inf).argmin(1)  # the first minimum
    cells = shared * n_codes + voted
    return torch.bincount(cells, minlength=n_factors * n_codes).view(n_factors, n_codes)


def _variances(codes: Codes, rows: Tensor) -> Tensor:
    """float64 (n, d) of batches of rows (n, batch), ddof 1; in two passes, several times as fast as Tensor.var."""
    batches = codes.index_select(0, rows.reshape(-1)).double().view(*rows.shape, -1)
    deviations = batches - batches.mean(1, keepdim=True)
    return deviations.square_().sum(1) / (rows.shape[1] - 1)


METRIC = Metric(
    name="factor_vae",
    version=1,
    values=(
        ValueSpec(
            "factor_vae",
            "accuracy of telling the fixed factor from the code that varies least",
            invariant_to=INVARIANCES - {"scaling codes"},  # the threshold of active codes is absolute
        ),
    ),
    settings=Settings,
    needs="interventions",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{kim2018disentangling, title={Disentangling by Factorising}, "
        "author={Kim, Hyunjik and Mnih, Andriy}, booktitle={ICML}, year={2018}}"
    ),
)
