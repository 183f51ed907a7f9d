"""What a protocol brings along: metrics, and a reducer for models that return tokens."""

import pytest
import torch
from torch import Tensor

from disbench import UsageError, evaluate, registry
from disbench.encode import Pca, PcaAll
from disbench.plan import generator_for
from disbench.protocols import PROTOCOLS, resolve
from tests.conftest import TinyDataset, perfect_codes

FEW = {"metrics": "mig", "settings": {"mig.num_train": 100}}


def tokens(images: Tensor) -> Tensor:
    codes = perfect_codes(images)
    return torch.stack([codes, 2 * codes, codes**2], dim=2)


def test_full_runs_every_metric_that_scores_one_model() -> None:
    names = [task.metric.name for task in resolve("full").tasks]
    assert {*names} == {name for name, metric in registry.metrics().items() if metric.needs != "models"}
    assert "udr" in registry.metrics()


def test_what_compares_several_models_says_how_to_call_it() -> None:
    with pytest.raises(UsageError, match=r"udr compares several models .* call disbench.metrics.udr.udr\(\)"):
        resolve("full", "udr")


def test_variants_have_settings_of_their_own() -> None:
    resolved = resolve("full", "mig_sup,mig_sup@ubisoft", {"mig_sup@ubisoft.bins": "12"})
    assert [task.settings.bins for task in resolved.tasks] == [20, 12]
    assert [task.values for task in resolved.tasks] == [("mig_sup",), ("mig_sup@ubisoft",)]


def test_protocols_differ_in_name_and_summary() -> None:
    assert len({p.summary for p in PROTOCOLS.values()}) == len(PROTOCOLS) == 6


def test_tokens_are_reduced_as_the_protocol_says(tiny: TinyDataset) -> None:
    report = evaluate(tokens, tiny, protocol="encdiff2024", **FEW)  # type: ignore[arg-type]
    assert report.record["key"]["reducer"] == "pca_all"
    assert report.record["sample"]["n_encoded"] == len(tiny)  # fitted on all images
    assert report.record["model"]["n_codes"] == 3
    other = evaluate(tokens, tiny, protocol="encdiff2024", reducer="flatten", **FEW)  # type: ignore[arg-type]
    assert other.record["key"]["reducer"] == "flatten"
    scalars = evaluate(perfect_codes, tiny, protocol="encdiff2024", **FEW)  # type: ignore[arg-type]
    assert scalars.record["key"]["reducer"] is None


def test_pca_of_all_images_names_how_many_are_too_many() -> None:
    generator = torch.Generator().manual_seed(0)
    assert len(Pca().draw(20_000, generator)) == 10_000
    assert len(PcaAll().draw(480_000, generator)) == 480_000
    assert len(PcaAll().draw(1_036_800, generator)) == 500_000


def test_a_setting_of_all_metrics_that_have_it() -> None:
    resolved = resolve("celeba_encdiff2024", None, {"*.num_images": "300", "fid.num_images": "200"})
    sizes = {task.metric.name: getattr(task.settings, "num_images", None) for task in resolved.tasks}
    assert sizes["fid"] == 200
    assert sizes["rfid"] == sizes["mse"] == 300
    assert sizes["tad"] is None
    assert {task.metric.name for task in resolved.tasks if task.if_offered} == {"lpips"}
    with pytest.raises(UsageError, match="none of the metrics that run here has a setting 'num_imgs'"):
        resolve("celeba_encdiff2024", None, {"*.num_imgs": "300"})


def test_variants_differ_by_method_and_not_by_chance() -> None:
    draws = [torch.rand(3, generator=generator_for(0, name, 1)) for name in ("tad", "tad@dyga", "mig")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
