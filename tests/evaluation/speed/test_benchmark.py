from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from personatalk_core.errors import OptionsError
from personatalk_core.evaluation.speed.benchmark import (
    RenderJob,
    format_benchmark,
    peak_rss_mib,
    relative_speed,
    render_seconds_a_frame,
    renderer_flops,
)
from personatalk_core.evaluation.speed.wav2lip_generator import FACE_SIZE, MEL_SIZE, Wav2LipSizedGenerator


def test_the_yardstick_has_the_published_size():
    generator = Wav2LipSizedGenerator().eval()
    assert round(sum(p.numel() for p in generator.parameters()) / 1e6, 1) == 36.3
    with torch.inference_mode():
        faces = generator(torch.rand(2, 6, FACE_SIZE, FACE_SIZE), torch.rand(2, 1, *MEL_SIZE))
    assert faces.shape == (2, 3, FACE_SIZE, FACE_SIZE)
    assert float(faces.min()) >= 0 and float(faces.max()) <= 1


def test_flops_of_the_yardstick_are_the_measured_ones_and_the_renderer_counts(models):
    counted = renderer_flops(models)
    assert counted["wav2lip_sized"] == pytest.approx(7.93, abs=0.01)  # the project's design measured it
    assert counted["render_frame"] > 0.01 and counted["encode_reference"] > 0.001
    assert counted["render_frame"] + counted["encode_reference"] < 6.0  # GFLOP a frame, the project's limit


def test_render_time_is_positive_and_needs_a_renderer(models):
    assert 0 < render_seconds_a_frame(models, frames=1) < 60
    with pytest.raises(OptionsError, match="renderer"):
        render_seconds_a_frame(replace(models, renderer=None), frames=1)
    with pytest.raises(OptionsError, match="1 or more"):
        render_seconds_a_frame(models, frames=0)


def test_format_names_every_stage_and_the_ratio():
    text = format_benchmark(
        {
            "machine": {"device": "cpu"},
            "frames_a_second": {"pncc": 80.0, "rendering": 12.0},
            "relative": {
                "renderer_fps": 12.0,
                "lower_face_fps": 16.0,
                "wav2lip_sized_fps": 4.0,
                "encoded_fps": 20.0,
                "ratio": 3.0,
                "lower_face_ratio": 4.0,
                "encoded_ratio": 5.0,
            },
            "gflop": {"render_frame": 1.5, "encode_reference": 0.25, "wav2lip_sized": 7.93},
            "peak_rss_mib": 1000.0,
            "remarks": ["no media"],
        }
    )
    for words in ("3.00 times", "4.00 times", "5.00 times", "7.93", "pncc", "no media", "1000 MiB"):
        assert words in text


def test_peak_memory_is_at_least_what_torch_needs():
    assert peak_rss_mib() > 50


def test_the_renderer_is_timed_in_turns_with_the_yardstick(models, monkeypatch):
    monkeypatch.setattr("personatalk_core.evaluation.speed.benchmark.ROUNDS", 1)
    monkeypatch.setattr("personatalk_core.evaluation.speed.benchmark.FRAMES", 2)
    speeds = relative_speed(models)
    assert all(value > 0 for value in speeds.values())
    assert speeds["ratio"] == pytest.approx(speeds["renderer_fps"] / speeds["wav2lip_sized_fps"])
    # far below what is measured on a machine at rest: a test must not depend on its neighbours
    assert speeds["ratio"] > 0.3


def test_a_dub_of_the_lower_face_costs_less_than_the_whole_crop(models):
    job = RenderJob(models)
    work = {}
    for lower_only in (False, True):
        with FlopCounterMode(display=False) as counter:
            job.render(1, lower_only)
        work[lower_only] = counter.get_total_flops()
    assert work[True] < 0.9 * work[False]
