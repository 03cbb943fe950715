from __future__ import annotations

import copy
import json

import pytest

from personatalk_core.errors import MediaError
from personatalk_core.evaluation.benchmark.check import load_baselines, make_baseline, regressions


@pytest.fixture
def result():
    mean = {"psnr_lips": {"mean": 24.0}, "lmd": {"mean": 0.5}, "sync_lag": {"mean": 0.0}}
    return {"clips": ["a.mp4"], "frames": 60, "rows": {"self_dub": {"title": "self-dub", "mean": mean}}}


def test_the_same_result_has_no_regression(result, tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"corpus": make_baseline(result)}))
    assert regressions(result, load_baselines(tmp_path / "b.json")["corpus"]) == []


@pytest.mark.parametrize(
    ("metric", "value", "worse"),
    [
        ("psnr_lips", 22.0, True),
        ("psnr_lips", 26.0, False),
        ("psnr_lips", 23.8, False),
        ("lmd", 0.6, True),
        ("lmd", 0.3, False),
        ("sync_lag", -2.0, True),
    ],
)
def test_only_what_got_worse_beyond_its_tolerance_is_named(result, metric, value, worse):
    later = copy.deepcopy(result)
    later["rows"]["self_dub"]["mean"][metric]["mean"] = value
    assert len(regressions(later, make_baseline(result))) == int(worse)


def test_a_missing_metric_is_named(result):
    later = copy.deepcopy(result)
    del later["rows"]["self_dub"]["mean"]["lmd"]
    assert "LMD is missing" in regressions(later, make_baseline(result))[0]


def test_other_clips_or_frames_are_refused(result, tmp_path):
    with pytest.raises(MediaError, match="same clips"):
        regressions(result | {"frames": None}, make_baseline(result))
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(MediaError, match="holds no quality baselines"):
        load_baselines(tmp_path / "x.json")
