"""Style answers with known results: made-up talkers who differ in one number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.evaluation.metrics.style_similarity import StyleMetric, StyleMetricConfig
from personatalk_core.evaluation.studies.style_accuracy import (
    figure,
    mixes,
    motion_of,
    nearest_speaker,
    own_style,
    pieces,
    speak,
    strengths,
    swaps,
)
from personatalk_core.evaluation.studies.talking_clips import TalkingClip
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.models import load_models
from personatalk_core.samples.demo import DEMO_SPEECH
from personatalk_core.types import FaceGeometry


@pytest.fixture(scope="module")
def models():
    return load_models(DubOptions(), parts=("speech",))


def talker(models, name: str, spread: float, seed: int, frames: int = 75) -> TalkingClip:
    """A face that opens and closes its mouth by chance, as lively as ``spread``."""
    face = models.face_model
    generator = torch.Generator().manual_seed(seed)
    expression = torch.zeros(frames, face.expression_count)
    expression[:, : face.lower_count] = spread * torch.randn(frames, face.lower_count, generator=generator)
    zeros = torch.zeros(frames, dtype=torch.int64)
    geometry = FaceGeometry(
        identity=torch.zeros(face.identity_count),
        expression=expression,
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 2),
        scale=torch.ones(frames),
        status=zeros.to(torch.uint8),
        shot=zeros,
        source_frame=torch.arange(frames),
        times=torch.arange(frames, dtype=torch.float64) / 25,
        durations=torch.full((frames,), 1 / 25, dtype=torch.float64),
        frame_size=(64, 64),
        face_model=face.sha256,
    )
    return TalkingClip(name, geometry, speech_samples(read_audio(DEMO_SPEECH))[: frames * 640], 0.0)


def test_pieces_of_one_clip_and_whole_clips_of_several():
    parts = pieces(
        [torch.zeros(250, 2), torch.zeros(80, 2), torch.zeros(80, 2), torch.zeros(40, 2)],
        ["a", "b", "b", "c"],
    )
    # c is too short to be halved
    assert [(s, len(m)) for s, m in parts] == [
        ("a", 125),
        ("a", 125),
        ("b", 80),
        ("b", 80),
    ]


def test_nearest_speaker_counts_by_speaker():
    parts = [
        ("a", torch.zeros(30, 1)),
        ("a", torch.full((30, 1), 0.1)),
        ("b", torch.full((30, 1), 1.0)),
        ("b", torch.full((30, 1), 0.2)),
    ]
    # b's second piece is nearer to a
    assert nearest_speaker(parts, lambda motion: motion.mean(0)) == {
        "a": 1.0,
        "b": 0.5,
    }


def spoken(models, clip: TalkingClip) -> TalkingClip:
    """The same talker, saying what is heard instead of moving by chance."""
    expression = clip.geometry.expression.clone()
    motion = speak(clip, own_style(models)(motion_of(clip, models)), models)
    expression[:, : models.face_model.lower_count] = motion
    return replace(clip, geometry=replace(clip.geometry, expression=expression))


def test_lively_and_calm_talkers_are_told_apart_and_swapped(models):
    clips = [spoken(models, talker(models, "calm", 0.1, 1)), spoken(models, talker(models, "lively", 1.5, 2))]
    answers = swaps(clips, models, {"own": own_style(models)})["own"]
    assert answers["closer to the style asked for"] == 1.0 and answers["own style nearest"] == 1.0
    reached = strengths(clips, models)
    assert reached[0.0] == pytest.approx(0.0) and reached[1.0] == pytest.approx(1.0) and reached[2.0] > 1.2
    middle, between = mixes(clips, models)
    assert between == 1.0 and 0.1 < middle < 0.9


def test_figure_five_has_originals_and_dubs(models):
    torch.manual_seed(0)
    metric = StyleMetric(StyleMetricConfig(models.face_model.lower_count, models.face_model.sha256)).eval()
    svg = figure([talker(models, "anna__x", 0.3, 1), talker(models, "bert__y", 1.0, 2)], models, metric)
    assert svg.count("<circle") >= 2 and svg.count("<path") >= 2 and "anna" in svg and "bert" in svg
