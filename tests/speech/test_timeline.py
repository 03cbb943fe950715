"""25 fps to any frame rate and back."""

from __future__ import annotations

import torch

from personatalk_core.speech.timeline import at_model_rate, frames_to_cover, interpolate_frames


def clock(frames: int, fps: float):
    return torch.arange(frames, dtype=torch.float64) / fps, torch.full(
        (frames,), 1 / fps, dtype=torch.float64
    )


def test_25_fps_is_exact():
    values = torch.randn(50, 3)
    assert torch.equal(interpolate_frames(values, *clock(50, 25)), values)


def test_rounded_clock_at_25_fps_is_exact():
    values = torch.randn(50, 3)
    times, durations = clock(50, 25)
    assert torch.equal(interpolate_frames(values, (times * 1e6).round() / 1e6, durations), values)


def test_50_fps_reads_between_frame_middles():
    values = torch.arange(25.0)[:, None]
    read = interpolate_frames(values, *clock(50, 50))[:, 0]
    assert torch.allclose(read[1:-1], torch.arange(1, 49) / 2 - 0.25)


def test_variable_rate_follows_time():
    times = torch.tensor([0.0, 0.1, 0.13, 0.5], dtype=torch.float64)
    durations = torch.tensor([0.1, 0.03, 0.37, 0.1], dtype=torch.float64)
    ramp = (torch.arange(15.0)[:, None] + 0.5) / 25  # the time at each frame's middle
    assert torch.allclose(
        interpolate_frames(ramp, times, durations)[:, 0].double(), times + durations / 2, atol=1e-5
    )


def test_frames_to_cover():
    assert frames_to_cover(*clock(30, 30)) == 25
    assert frames_to_cover(*clock(31, 30)) == 26
    assert frames_to_cover(*clock(1, 1000)) == 1


def test_clip_at_another_rate_keeps_time_and_leaves_out_bad_frames(moving_face):
    clip = moving_face(frames=60, fps=30.0)
    clip.expression[:, 0] = (torch.arange(60) + 0.5) / 30
    clip.status[30] = 1
    expression, usable = at_model_rate(clip)
    assert len(expression) == 50
    assert torch.allclose(expression[:, 0], (torch.arange(50) + 0.5) / 25, atol=1e-3)
    assert 1 <= int((~usable).sum()) <= 2
    assert not usable[25]


def test_nothing_is_mixed_across_a_cut(moving_face):
    clip = moving_face(frames=60, fps=30.0)
    clip.shot[30:] = 1
    usable = at_model_rate(clip)[1]
    assert int((~usable).sum()) <= 1
