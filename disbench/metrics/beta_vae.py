"""BetaVAE score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError
from disbench.metrics._linear import softmax_regression
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Indices, Metric, Score, ValueSpec, draw_seed

_MAX_GATHERED = 2**16  # code values gathered at once; bounds memory, not the result


@dataclass(frozen=True)
class Settings:
    """Sizes of the BetaVAE score; the defaults are the 2019 study's."""

    num_train: int = 10_000  # points that the classifier is fitted on
    num_eval: int = 5_000  # points that it is scored on
    batch_size: int = 64  # pairs of samples that share a factor and make one point
    penalty: float = 1.0  # of the classifier's squared weights, against the sum of its losses

    def __post_init__(self) -> None:
        check_numbers(self, "beta_vae.")


def beta_vae(
    codes: Codes,
    factors: Factors,
    *,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    penalty: float = 1.0,
    seed: int = 0,
) -> Score:
    """Accuracy of telling which factor pairs of samples share from how far their codes are apart.

    A point is the mean absolute difference of the codes of pairs that agree in factor k:
    x[d] = 1/B sum_i |z1_i[d] - z2_i[d]|, with i over B = `batch_size` pairs. Each pair has its own value of factor k,
    all else is independent. A logistic regression on x as it is predicts k; the score is its accuracy on fresh points.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k); the rows hold every combination, in any order.
        num_train: points that the classifier is fitted on.
        num_eval: points that it is scored on.
        batch_size: pairs that make one point.
        penalty: of the classifier's squared weights, against the sum of its losses; 1 / C of scikit-learn.
        seed: of the draws.

    Returns:
        `beta_vae` in 0 ... 1, higher is better; chance is about 1 / k. Details: `train_accuracy`.

    Undefined when:
        fewer than two factors take more than one value: every answer would be right.
        With constant codes all points are equal, and the score is about 1 / k. A factor that no training point shares
        (a matter of few points) is never predicted.

    Raises:
        DisbenchError: the rows lack combinations, so no factor can be held fixed.

    Source:
        Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
        section 3, with the logistic regression of the 2019 study.

    Matches:
        disentanglement_lib 1.5 `beta_vae_sklearn`, within sampling error from own draws, on every case of
        tests/golden/beta_vae.json; from its points to 0.002. Like it, and unlike most metrics, the score depends on the
        scale of the codes, through the penalty.

    Differs from:
        disentanglement_lib, which also draws factors that take a single value (here: never the shared factor), and
        whose regression may stop before its optimum. Ubisoft's Z-diff, which has other sizes and rescales.
    """
    settings = Settings(num_train, num_eval, batch_size, penalty)
    rows = check_rows(codes, factors)
    found = rows.draw(METRIC, settings, Generator().manual_seed(seed), seed)
    if isinstance(found, str):
        raise DisbenchError(f"the BetaVAE score holds factors fixed: {found}.")
    return score(rows.codes, found, settings)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """For every point of a part, the two batches (points, 2, batch_size), and the factor that their pairs share."""
    indices, labels = {}, {"varying": space.varying}
    for part, n_points in (("train", settings.num_train), ("eval", settings.num_eval)):
        indices[part], labels[part] = _pairs(space, n_points, settings.batch_size, generator)
    return Draw(indices, labels, space.names, draw_seed(generator))


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """BetaVAE score of the rows of `codes` that the draw names; see `beta_vae`."""
    if len(draw.labels["varying"]) < 2:
        return Score({}, undefined={"beta_vae": "with fewer than two factors that vary every answer is right"})
    points = {part: _points(codes, draw.indices[part]) for part in ("train", "eval")}
    classifier = softmax_regression(points["train"], draw.labels["train"][:, None], penalty=settings.penalty)
    accuracy = {part: classifier.accuracy(points[part], draw.labels[part][:, None]).item() for part in points}
    return Score({"beta_vae": accuracy["eval"]}, {"train_accuracy": accuracy["train"]})


def _pairs(space: FactorSpace, n_points: int, batch_size: int, generator: Generator) -> tuple[Indices, Tensor]:
    varying = space.varying if len(space.varying) else torch.tensor([0])
    shared = varying[torch.randint(len(varying), (n_points,), generator=generator)]
    indices = torch.zeros(n_points, 2, batch_size, dtype=torch.int64)
    for k, (size, stride) in enumerate(zip(space.sizes, space.strides.tolist(), strict=True)):
        column = torch.randint(size, indices.shape, generator=generator)
        column[:, 1] = torch.where((shared == k)[:, None], column[:, 0], column[:, 1])
        indices += stride * column
    return indices, shared


def _points(codes: Codes, rows: Indices) -> Tensor:
    """Mean absolute differences float64 (points, d) of the pairs in rows (points, 2, batch)."""
    points = []
    for some in rows.split(max(1, _MAX_GATHERED // (rows[0].numel() * codes.shape[1]))):
        one, other = codes.index_select(0, some.flatten()).double().view(*some.shape, -1).unbind(1)
        points.append((one - other).abs_().mean(1))
    return torch.cat(points)


METRIC = Metric(
    name="beta_vae",
    version=1,
    values=(
        ValueSpec(
            "beta_vae",
            "accuracy of telling the shared factor from the distances of codes",
            invariant_to=INVARIANCES - {"scaling codes"},  # the penalty of the classifier is absolute
        ),
    ),
    settings=Settings,
    needs="interventions",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{higgins2017beta, title={beta-VAE: Learning Basic Visual Concepts with a Constrained "
        "Variational Framework}, author={Higgins, Irina and Matthey, Loic and Pal, Arka and Burgess, Christopher and "
        "Glorot, Xavier and Botvinick, Matthew and Mohamed, Shakir and Lerchner, Alexander}, booktitle={ICLR}, "
        "year={2017}}"
    ),
    tolerance=1e-3,  # of a fit that ends near its optimum
)
