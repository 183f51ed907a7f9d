"""Everything in the registry keeps its promises, and the registry is loud where it should be."""

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks.tables import TABLES, with_table
from disbench import registry
from disbench.checkpoint import load
from disbench.errors import DisbenchError, UsageError
from disbench.models import load_model
from disbench.protocols import PROTOCOLS, resolve
from disbench.testing import check_dataset, check_dataset_spec, check_metric, check_representation
from disbench.types import ValueSpec
from tests.conftest import SMALL, TinyDataset, perfect_codes


@pytest.mark.parametrize("name", registry.metrics())
def test_metric(name: str) -> None:
    settings = {path.split(".")[1]: value for path, value in SMALL.items() if path.startswith(f"{name}.")}
    for seed in range(3):
        check_metric(registry.metrics()[name], settings, seed)


NEEDS_NOTHING = ["rooms3d", "xysquares", "xyobject", "dsprites_regen", "color_dsprites_regen", "noisy_dsprites_regen"]


@pytest.mark.parametrize("name", NEEDS_NOTHING)
def test_generated_dataset(name: str) -> None:
    dataset = registry.load_dataset(name)
    assert dataset.spec.name == name
    check_dataset(dataset)
    assert registry.datasets()[name].here(None) == "generated here"
    checks = list(registry.datasets()[name].checks(dataset))
    assert checks
    assert all(check.holds for check in checks)


@pytest.mark.parametrize("name", ["sprites", "sprites_full", "beamsynthesis"])
def test_dataset_of_real_files(name: str, data_dir: Path) -> None:
    check_dataset(registry.load_dataset(name, data_dir))


@pytest.mark.parametrize("name", registry.datasets())
def test_every_dataset_says_what_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its files: specification, what is here, and how the files are known."""
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    entry = registry.datasets()[name]
    assert entry.spec.name == name
    check_dataset_spec(entry.spec)
    assert entry.here(tmp_path) not in ("", "prepared")
    if entry.recipe is None:
        return
    assert entry.recipe.size > 0
    for file in entry.recipe.sources[0].files:
        assert file.urls or file.page, f"{file.name} comes from nowhere"
        assert file.sha256 or file.md5 or not file.urls, f"{file.name} is downloaded and cannot be verified"


def test_two_files_of_one_name_are_one_file() -> None:
    """Downloads lie in one folder."""
    recipes = [entry.recipe for entry in registry.datasets().values() if entry.recipe is not None]
    files = {file for recipe in recipes for source in recipe.sources for file in source.files}
    assert len({file.name for file in files}) == len(files)


def test_dataset_check_finds_misaligned_labels(tiny: TinyDataset) -> None:
    tiny.factors = lambda index: tiny.spec.space.values((index + 1) % len(tiny))  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="do not lead back"):
        check_dataset(tiny)


@pytest.mark.parametrize("name", registry.checkpoints())
def test_checkpoint(name: str) -> None:
    entry = registry.checkpoints()[name]
    checkpoint = load(entry.path)
    assert checkpoint.model in registry.models()
    assert checkpoint.train["dataset"] in registry.datasets()
    assert checkpoint.train["command"].startswith("disbench train ")
    assert entry.path.stat().st_size < 2_000_000
    check_representation(name, registry.load_dataset(checkpoint.train["dataset"]))


def test_representation_check_passes_and_fails(tiny: TinyDataset) -> None:
    check_representation(perfect_codes, tiny)
    with pytest.raises(DisbenchError, match="depend on the batch"):
        check_representation(lambda images: perfect_codes(images) + torch.randn(len(images), 3), tiny)


@pytest.mark.parametrize("name", registry.models())
def test_model(name: str) -> None:
    entry = registry.models()[name]
    config = entry.config()
    with torch.device("meta"):
        module = entry.build(config)
        codes = module(torch.empty(2, 3, 64, 64))
    assert codes.ndim in (2, 3)
    assert len(codes) == 2
    if getattr(module, "scored", True):
        assert codes.shape[1] == config.n_codes


def test_protocols_name_metrics_and_their_settings() -> None:
    for protocol in PROTOCOLS.values():
        for name, settings in protocol.settings.items():
            chosen = registry.metrics()[name].settings(**settings)
            assert all(getattr(chosen, key) == value for key, value in settings.items())


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'rooms3d'"):
        registry.load_dataset("room3d")
    with pytest.raises(UsageError, match="beta_vae-rooms3d"):
        load_model("beta_vae_rooms3d")
    with pytest.raises(UsageError, match="disbench train beta_vae"):
        load_model("beta_vae")


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(DisbenchError, match="two metrics are called 'mig'"):
        registry._merge("metrics", iter([("mig", 1), ("mig", 2)]))


def test_golden_files_are_described() -> None:
    folder = Path(__file__).parent.parent / "golden"
    described = (folder / "README.md").read_text()
    assert all(f"`{path.name}`" in described for path in folder.glob("*.npz"))
    assert {path.stem for path in folder.glob("*.json")} <= set(registry.metrics())


def test_a_metric_outside_the_protocol_runs_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dataclasses.replace(registry.metrics()["mig"], name="own", values=(ValueSpec("own", "a test's"),))
    everything = {**registry.metrics(), "own": own}
    monkeypatch.setattr(registry, "metrics", lambda: everything)
    resolved = resolve("quick", "own")
    assert (resolved.name, [t.metric.name for t in resolved.tasks]) == ("quick+custom", ["own"])


def test_generated_tables_are_current() -> None:
    for name, (page, make) in TABLES.items():
        text = page.read_text()
        assert with_table(text, name, make()) == text, f"run python -m benchmarks.tables: {name} in {page.name}"
