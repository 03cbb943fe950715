"""evaluate_video on a synthetic video whose geometry is known, so that no face has to be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch.nn import functional as F

from personatalk_core.dubbing.run import Run
from personatalk_core.errors import MediaError
from personatalk_core.evaluation.judges.networks import load_judges
from personatalk_core.evaluation.metrics.landmark_distance import mouth_series
from personatalk_core.evaluation.metrics.video_scores import ComparisonOptions, evaluate_video, same_sound
from personatalk_core.evaluation.speed.synthetic_clip import synthetic_clip
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import AudioClip, Timeline

FRAMES = 40


def write(path, pixels, sound):
    timeline = Timeline(np.arange(len(pixels)), np.arange(len(pixels)) / 25, np.full(len(pixels), 1 / 25))
    with VideoWriter(
        path, pixels.shape[-1], pixels.shape[-2], timeline, audio=AudioClip(sound[None], 16000), lossless=True
    ) as video:
        for frame in pixels:
            video.write((frame.permute(1, 2, 0) * 255).round().byte().numpy())
    return path


@pytest.fixture(scope="module")
def scene(face_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    clip = synthetic_clip(face_model, FRAMES, seed=2)
    generator = np.random.default_rng(0)
    own, foreign = (
        (generator.standard_normal(FRAMES * 640) * np.repeat(generator.random(FRAMES), 640) * 0.2).astype(
            np.float32
        )
        for _ in range(2)
    )
    picture = clip.pixels[:1].expand(FRAMES, -1, -1, -1)
    source = write(folder / "source.mp4", picture, own)
    soft = write(folder / "soft.mp4", F.avg_pool2d(picture, 9, 1, 4), own)
    wavfile.write(folder / "own.wav", 16000, own)
    wavfile.write(folder / "foreign.wav", 16000, foreign)
    opening = mouth_series(clip.geometry, face_model)[0]
    return folder, source, soft, clip.geometry, judged_by(lambda samples, frames: opening[:frames])


def judged_by(hear):
    """The bundled judges with another one of sync."""
    return replace(load_judges(None), sound=hear)


def test_the_source_itself_is_perfect(scene, models):
    folder, source, _, geometry, judges = scene
    found = evaluate_video(
        source,
        source,
        folder / "own.wav",
        Run(models),
        judges,
        ComparisonOptions(geometry, geometry, most_frames=4),
    )
    metrics = found["metrics"]
    assert found["own_sound"] and found["frames"] == FRAMES == found["frames_compared"]
    assert (
        metrics["ssim"] == pytest.approx(1.0)
        and metrics["psnr"] == pytest.approx(100.0)
        and metrics["lmd"] == 0.0
    )
    assert metrics["sync_r"] == pytest.approx(1.0, abs=1e-4) and metrics["sync_lag"] == 0.0
    assert metrics["opening_r"] == pytest.approx(1.0, abs=1e-4) and metrics[
        "lip_detail_ratio"
    ] == pytest.approx(1.0)
    assert metrics.get("style_sim", 1.0) == pytest.approx(1.0, abs=1e-4)
    assert "leak" not in metrics and "fid" not in metrics


def test_a_softened_video_with_a_foreign_sound_is_told_from_the_truth(scene, models):
    folder, source, soft, geometry, _ = scene
    noise = torch.randn(FRAMES, generator=torch.Generator().manual_seed(9))
    found = evaluate_video(
        soft,
        source,
        folder / "foreign.wav",
        Run(models),
        judged_by(lambda samples, frames: noise[:frames]),
        ComparisonOptions(geometry, geometry, most_frames=4),
    )
    metrics = found["metrics"]
    assert not found["own_sound"] and "ssim" not in metrics and "opening_r" not in metrics
    assert metrics["leak"] == pytest.approx(1.0, abs=1e-4)  # the mouth is the source's own
    assert metrics["lip_detail_ratio"] < 0.9 and metrics["filter_bank_distance"] > 0
    assert abs(metrics["sync_r"]) < 0.5


def test_a_late_mouth_shows_as_a_lag(scene, models):
    folder, source, _, geometry, judges = scene
    late = replace(geometry, expression=torch.roll(geometry.expression, 3, 0))
    metrics = evaluate_video(
        source,
        source,
        folder / "own.wav",
        Run(models),
        judges,
        ComparisonOptions(geometry, late, most_frames=1),
    )["metrics"]
    assert metrics["sync_lag"] == 3.0 and metrics["sync_best_r"] > 0.99 > metrics["opening_r"]
    assert metrics["lmd"] > 0.1


def test_videos_of_other_sizes_are_refused(scene, models, tmp_path):
    folder, source, _, geometry, judges = scene
    small = write(tmp_path / "small.mp4", torch.zeros(FRAMES, 3, 64, 64), np.zeros(FRAMES * 640, np.float32))
    with pytest.raises(MediaError, match="64x64"):
        evaluate_video(small, source, folder / "own.wav", Run(models), judges, ComparisonOptions(geometry))


def test_the_same_sound_is_known_when_shifted_and_quieter():
    loud = torch.randn(64000, generator=torch.Generator().manual_seed(0)) * torch.rand(100).repeat_interleave(
        640
    )
    shifted = torch.cat([torch.zeros(1920), 0.3 * loud])
    assert same_sound(shifted, loud)
    assert not same_sound(torch.flip(loud, [0]), loud)


def test_the_beginning_can_be_looked_at_alone(scene, models):
    folder, source, _, geometry, judges = scene
    broken = geometry.expression.clone()
    broken[34:] = torch.randn(broken[34:].shape, generator=torch.Generator().manual_seed(0))
    spoiled = replace(geometry, expression=broken)
    given = (source, source, folder / "own.wav", Run(models), judges)
    options = ComparisonOptions(geometry, spoiled, most_frames=1)
    whole, begun = (evaluate_video(*given, o) for o in (options, replace(options, first_frames=34)))
    assert begun["frames"] == 34 and begun["metrics"]["opening_r"] == pytest.approx(1.0, abs=1e-4)
    assert whole["metrics"]["opening_r"] < 0.99
