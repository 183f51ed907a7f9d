"""Named settings: which metrics, with which sizes, so that two numbers of one protocol can stand side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from disbench import registry
from disbench.errors import UsageError, did_you_mean
from disbench.settings import override
from disbench.types import AnyMetric, Metric


@dataclass(frozen=True)
class Protocol:
    """Metrics and the settings in which they differ from their defaults.

    A protocol that gains a metric, or changes one, gets a higher version; the numbers of the others stand.

    Args:
        name: what `--protocol` takes.
        version: raised with every change.
        summary: one line.
        chosen: metric -> its settings; None for every metric there is, with its defaults.
        offered: the same of metrics on images: those that run where the model makes the images they need and the
            machine has what they need, and are left out elsewhere.
        reducer: makes codes of tokens, where the model returns tokens and no other was asked for.
    """

    name: str
    version: int
    summary: str
    chosen: Mapping[str, Mapping[str, Any]] | None
    offered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reducer: str | None = None

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Metric -> the settings that differ from its defaults."""
        if self.chosen is not None:
            return {**self.chosen, **self.offered}
        return {name: {} for name, metric in registry.metrics().items() if metric.needs != "models"}

    def only_offers(self, metric: AnyMetric) -> bool:
        """Whether a metric runs only where the model and the machine have what it needs."""
        return not isinstance(metric, Metric) and metric.name not in (self.chosen or ())


_IMAGES: Mapping[str, Mapping[str, Any]] = {"mse": {}, "psnr": {}, "ssim": {}, "lpips": {}, "rfid": {}, "fid": {}}


def _celeba(name: str, n_images: int, summary: str) -> Protocol:
    """The second table of EncDiff, DisDiff and DyGA: TAD as each of them ran it, and FID on so many images."""
    on_images = {metric: {"num_images": n_images} for metric in (*_IMAGES, "fid@disdiff") if metric != "lpips"}
    on_codes: dict[str, Mapping[str, Any]] = {
        "tad": {}, "tad@nashae": {}, "tad@infodiffusion": {}, "tad@disdiff": {}, "tad@encdiff": {}, "tad@dyga": {},
    }  # fmt: skip
    return Protocol(name, 1, summary, {**on_codes, **on_images}, {"lpips": {"num_images": n_images}})


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "locatello2019",
            3,
            "metrics and sizes of the 2019 study (Locatello et al., arXiv 1811.12359), without downstream tasks",
            {
                "beta_vae": {},
                "factor_vae": {},
                "mig": {},
                "dci": {},
                "sap": {},
                "modularity": {},
                "explicitness": {},
                "gaussian_total_correlation": {},
                "gaussian_wasserstein_correlation": {},
                "mutual_information": {},
            },
            _IMAGES,
        ),
        Protocol(
            "encdiff2024",
            2,
            "what EncDiff, DisDiff and DyGA ran; tokens become one value each, by PCA over all images",
            {
                "factor_vae": {},
                "dci": {},
                "beta_vae": {},
                "mig": {},
                "sap": {},
                "modularity": {},
                "explicitness": {},
                "infomec@dyga": {},
                "med": {},
                "downstream": {},
            },
            _IMAGES,
            reducer="pca_all",
        ),
        _celeba(
            "celeba_encdiff2024",
            10_000,
            "EncDiff's and DisDiff's second table: TAD and FID, on CelebA at 64 x 64; 10,000 images",
        ),
        _celeba("celeba_encdiff2024_50k", 50_000, "the same with FID on 50,000 images, as DyGA"),
        Protocol(
            "full",
            2,
            "every metric that data and model allow, each with its defaults",
            None,
        ),
        Protocol(
            "quick",
            2,
            "small draws, for a first look or inside a training loop; noisier, and comparable only with itself",
            {
                "factor_vae": {"num_variance_estimate": 1_000, "num_train": 300, "num_eval": 150},
                "mig": {"num_train": 2_000},
                "dci": {"num_train": 1_000, "num_test": 500},
            },
            {"mse": {"num_images": 500}, "psnr": {"num_images": 500}, "ssim": {"num_images": 500}},
        ),
    )
}


@dataclass(frozen=True)
class Task:
    """A metric to run, how, and which of its values were asked for.

    `by_name`: the user named it, so that it is a failure if it cannot run. `if_offered`: it is left out where the model
    makes no images for it, or the machine lacks what it needs.
    """

    metric: AnyMetric
    settings: Any
    values: tuple[str, ...]
    by_name: bool
    if_offered: bool = False


@dataclass(frozen=True)
class Resolved:
    """A protocol with the user's choices applied: NAME+custom if a setting was changed."""

    name: str
    version: int
    tasks: tuple[Task, ...] = field(default_factory=tuple)
    reducer: str | None = None


def resolve(name: str, asked: Iterable[str] | str | None = None, changes: Mapping[str, Any] | None = None) -> Resolved:
    """The tasks of a protocol.

    Args:
        name: of the protocol.
        asked: metrics or values (METRIC or METRIC.VALUE), a list or separated by commas; None for the protocol's. A
            metric outside the protocol runs with its own defaults and makes it NAME+custom.
        changes: METRIC.SETTING -> value or its text; `*.SETTING` for every metric that runs and has it.

    Raises:
        UsageError: an unknown protocol, metric, value or setting; a setting of a metric that does not run.
    """
    protocol = registry.pick("protocol", name, PROTOCOLS)
    names = [name for name in asked.split(",") if name.strip()] if isinstance(asked, str) else asked
    wanted = _wanted_values(protocol, [n.strip() for n in names] if names is not None else list(protocol.settings))
    if several := [name for name in wanted if registry.metrics()[name].needs == "models"]:
        raise UsageError(
            f"{several[0]} compares several models of one family, and this scores one; "
            f"call disbench.metrics.{several[0]}.{several[0]}() on the codes of all of them."
        )
    per_metric: dict[str, dict[str, Any]] = {name: {} for name in wanted}
    named = set()
    for path, value in sorted((changes or {}).items(), key=lambda change: not change[0].startswith("*.")):
        for owner, setting in _targets(path, list(wanted)):
            per_metric[owner][setting] = value
        named.add(path.partition(".")[0])
    tasks, custom = [], False
    for metric_name, values in wanted.items():
        metric = registry.metrics()[metric_name]
        standard = metric.settings(**protocol.settings.get(metric_name, {}))
        settings = override(standard, per_metric[metric_name], prefix=metric_name + ".")
        custom |= settings != standard or metric_name not in protocol.settings
        is_asked = names is not None or metric_name in named
        if_offered = not is_asked and protocol.only_offers(metric)
        tasks.append(Task(metric, settings, values, names is not None, if_offered))
    return Resolved(protocol.name + "+custom" * custom, protocol.version, tuple(tasks), protocol.reducer)


def _targets(path: str, running: Sequence[str]) -> list[tuple[str, str]]:
    """The metrics that `METRIC.SETTING` or `*.SETTING` changes, and the setting."""
    owner, dot, setting = path.partition(".")
    if not dot:
        raise UsageError(f"{path!r} names no setting; expected METRIC.SETTING, as in mig.bins.")
    if owner in running:
        return [(owner, setting)]
    if owner != "*":
        raise UsageError(f"{path!r} sets a metric that does not run here; {did_you_mean(owner, running)}")
    having = [name for name in running if hasattr(registry.metrics()[name].settings(), setting)]
    if not having:
        raise UsageError(f"{path!r}: none of the metrics that run here has a setting {setting!r}.")
    return [(name, setting) for name in having]


def _wanted_values(protocol: Protocol, names: list[str]) -> dict[str, tuple[str, ...]]:
    """Metric name -> the values asked for; the protocol's metrics in its order, then others."""
    known = registry.metrics()
    in_order = [*protocol.settings, *(name for name in known if name not in protocol.settings)]
    values = {metric: [v.name for v in known[metric].values] for metric in in_order}
    everything = {*values, *(value for metric in in_order for value in values[metric])}
    if not names:
        raise UsageError("no metric was asked for; name at least one, or leave the choice out for all.")
    for name in names:
        if name not in everything:
            raise UsageError(f"there is no metric or value called {name!r}; {did_you_mean(name, everything)}")
    wanted = {
        metric: tuple(value for value in values[metric] if metric in names or value in names) for metric in in_order
    }
    return {metric: chosen for metric, chosen in wanted.items() if chosen}
