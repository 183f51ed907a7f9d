"""What a published number is, and the words and papers that it is described with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Paper:
    """Where numbers are printed: a paper, or a repository or site that publishes some.

    Args:
        title: of the paper; what the repository is.
        arxiv: its number there; empty if not known.
        venue: where it appeared; empty if not known.
        tables: whose numbers are here, in order, by their names there.
    """

    title: str
    arxiv: str = ""
    venue: str = ""
    tables: tuple[str, ...] = ()


PAPERS: Mapping[str, Paper] = MappingProxyType(
    {
        "encdiff": Paper(
            "Diffusion Model with Cross Attention as an Inductive Bias for Disentanglement",
            "2402.09712",
            "NeurIPS 2024",
            tuple(str(number) for number in (*range(1, 8), *range(10, 20))),
        ),
        "dyga": Paper(
            "Disentangling Disentangled Representations: Towards Improved Latent Units via Diffusion Models",
            "2410.23820",
            "WACV 2025",
            ("1", "2"),
        ),
        "fdae": Paper(
            "Factorized Diffusion Autoencoder for Unsupervised Disentangled Representation Learning",
            venue="AAAI 2024",
            tables=("1", "2", "3", "4", "5", "supplement 1", "supplement 2"),
        ),
        "bayes_qlae": Paper(
            "A Bayesian Nonparametric Framework for Learning Disentangled Representations",
            venue="ICLR 2026",
            tables=("1", "2", "4"),
        ),
        "identifiability": Paper(
            "Statistical and Structural Identifiability in Representation Learning", venue="ICLR 2026", tables=("2",)
        ),
        "diverse_dictionary": Paper("Diverse Dictionary Learning", "2604.17568", "ICLR 2026", ("1", "7", "8")),
        "encdiff_replication": Paper(
            "EncDiff, trained again by the owner of a fork (github.com/SelenaGeRuiqi/EncDiff)",
            venue="GitHub",
            tables=("results by time step", "summary"),
        ),
        "encdiff_hybrid": Paper(
            "EncDiff beside a hybrid with InfoDiffusion (github.com/slymonius/EncDiff-InfoDiffusion-MI-Hybrid)",
            venue="GitHub",
            tables=("all_metrics.csv", "dci_all_models_2k1k.csv", "mig_all_models.csv"),
        ),
        "xfactors": Paper(
            "XFactors (github.com/alexandremyara/disdiff_adapters)", venue="GitHub", tables=("best_tab.json",)
        ),
        "disdiff": Paper(
            "DisDiff: Unsupervised Disentanglement of Diffusion Probabilistic Models", "2301.13721", "NeurIPS 2023"
        ),
        "disco": Paper(
            "Learning Disentangled Representation by Exploiting Pretrained Generative Models: A Contrastive Learning "
            "View",
            "2102.10543",
            "ICLR 2022",
        ),
        "dava": Paper("DAVA: Disentangling Adversarial Variational Autoencoder", "2303.01384", "ICLR 2023"),
        "vct": Paper("Visual Concepts Tokenization", "2205.10093", "NeurIPS 2022"),
        "infodiffusion": Paper(
            "InfoDiffusion: Representation Learning Using Information Maximizing Diffusion Models",
            "2306.08757",
            "ICML 2023",
        ),
        "qlae": Paper("Disentanglement via Latent Quantization", "2305.18378", "NeurIPS 2023"),
        "wizwand": Paper("wizwand.com, an index of results", venue="web site"),
    }
)
OTHER_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "cost.params_millions": "parameters of a model, in millions",
        "cost.flops_millions": "floating point operations, in millions, as the paper counts them",
        "cost.seconds_per_sample": "seconds for one sampled image, on the paper's machine",
        "self_mig": "FDAE's score without labels, by which it chooses its number of concepts",
        **{
            f"attribute_accuracy_percent.{name}": f"accuracy of a linear classifier of {what} on codes, in percent"
            for name, what in (
                ("top_color", "the colour of upper clothes"),
                ("bottom_color", "the colour of lower clothes"),
                ("gender", "the gender"),
                ("hair", "the length of hair"),
                ("backpack", "whether there is a backpack"),
                ("average", "five attributes, their mean"),
            )
        },
    }
)
OTHER_DATASETS: Mapping[str, str] = MappingProxyType({"market1501": "Market-1501, photographs of pedestrians"})
FAMILIES = ("diffusion", "vae", "gan", "pretrained-gan", "other")
SPREADS: Mapping[str, str] = MappingProxyType(
    {
        "std": "a standard deviation",
        "ci95": "half of a 95 % confidence interval of the mean",
        "unknown": "what it stands for is not said, or doubtful",
    }
)
READ_FROM: Mapping[str, str] = MappingProxyType(
    {
        "primary": "printed by those who measured it",
        "secondary": "seen in another paper, in notes on the paper or in an index",
        "replication": "measured by others who trained the method again",
    }
)


@dataclass(frozen=True)
class Printed:
    """A cell of a printed table.

    Args:
        paper: its key in PAPERS.
        table: its name there, one of the paper's tables.
        row: from 0, in the order of the table.
        label: of the row, as printed; described where the wording is not known.
        column: from 0, in the order of the table; columns without known numbers are not counted.
        heading: of the column, in our words.
        value: as this table prints it.
        spread: as this table prints it; None without one.
        text: both, with the printed digits.
        remark: what is wrong with the cell; empty if nothing is known to be.
    """

    paper: str
    table: str
    row: int
    label: str
    column: int
    heading: str
    value: float
    spread: float | None
    text: str
    remark: str


@dataclass(frozen=True)
class How:
    """What makes the row: a kind of model, changes to its config, and its method that is scored (empty: its call)."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True)
class Source:
    """Who reports the number first, as far as known: a key of PAPERS, and the table, None if it is not known."""

    paper: str
    table: str | None

    @property
    def title(self) -> str:
        """Of the paper."""
        return PAPERS[self.paper].title


@dataclass(frozen=True)
class PublishedNumber:
    """One published number.

    Args:
        method: its name as printed.
        method_key: names the method wherever it is printed.
        family: one of FAMILIES.
        dataset_as_reported: as printed; None for numbers of no data set.
        dataset: its name here or in OTHER_DATASETS; None for no data set, several, or a variant that is not known.
        metric_as_reported: as printed.
        metric: name of a value, as `dci.disentanglement`, or one of OTHER_METRICS.
        value: the number; the mean over trainings where there are several.
        spread: what stands after ±; None without one.
        text: both, with the printed digits.
        spread_kind: one of SPREADS; None without a spread.
        n_seeds: trainings behind it; None if not stated.
        variant: empty for the main result of a method, else what was changed.
        source: who reports it first.
        read_from: one of READ_FROM.
        note: what to know before it is compared.
        printed_in: the tables that are known to print it; empty if it is known from elsewhere only.
        how: what makes it with disbench; None if nothing does.
        line: of the file, from 1.
    """

    method: str
    method_key: str
    family: str
    dataset_as_reported: str | None
    dataset: str | None
    metric_as_reported: str
    metric: str
    value: float
    spread: float | None
    text: str
    spread_kind: str | None
    n_seeds: int | None
    variant: str
    source: Source
    read_from: str
    note: str
    printed_in: tuple[Printed, ...]
    how: How | None
    line: int

    @property
    def is_main(self) -> bool:
        """Whether it is a method's main result, measured by its authors or quoted by others as theirs."""
        return not self.variant and self.read_from != "replication"
