from __future__ import annotations

from pathlib import Path

import pytest

from personatalk_core.evaluation.metrics import table as metric_table
from personatalk_core.evaluation.metrics.table import METRICS, worse_by


def test_worse_follows_the_direction_of_each_metric():
    assert worse_by("psnr", 30.0, 31.0) == pytest.approx(1.0)
    assert worse_by("lmd", 0.4, 0.3) == pytest.approx(0.1)
    assert worse_by("flicker_ratio", 0.7, 1.1) == pytest.approx(0.2)
    assert worse_by("sync_lag", -2.0, 1.0) == pytest.approx(1.0)
    assert worse_by("ssim", 0.99, 0.98) < 0


def test_every_metric_says_what_it_is():
    assert all(
        metric.meaning and metric.title and metric.needs in ("own", "foreign", "any")
        for metric in METRICS.values()
    )


def test_networks_names_are_never_given_to_stand_ins():
    for name in ("filter_bank_distance", "gmsd", "shape_similarity", "sync_r"):
        assert METRICS[name].title.upper() not in ("FID", "LPIPS", "CSIM", "SYNCSCORE")


def test_the_page_lists_every_metric_as_it_is():
    page = (Path(metric_table.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for metric in METRICS.values():
        assert (
            f"| {metric.title} | {metric.unit or 'none'} | {metric.better} | {metric.needs} | "
            f"{metric.meaning} |"
        ) in page
