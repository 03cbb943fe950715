"""Meshes side by side: a video as long as its source with sound, and plots."""

from __future__ import annotations

import pytest

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.run import Run
from personatalk_core.evaluation.studies.spoken_meshes import SIDE, draw_openings, write_meshes
from personatalk_core.evaluation.studies.talking_clips import TalkingClip, spoken_by
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.models import load_models
from personatalk_core.pipeline import estimate_geometry
from personatalk_core.samples.demo import DEMO_SPEECH


def test_true_and_predicted_mesh_stand_beside_the_face(sample_video, tmp_path):
    pytest.importorskip("matplotlib")
    models = load_models(DubOptions(), parts=("speech",))
    geometry = estimate_geometry(probe(sample_video), Run(models))
    clip = TalkingClip("sample", geometry, speech_samples(read_audio(DEMO_SPEECH)), 0.0)
    output = spoken_by(geometry, clip.heard, models)
    write_meshes(sample_video, clip, output, models, tmp_path / "m.mp4")
    made, source = probe(tmp_path / "m.mp4"), probe(sample_video)
    assert (made.width, made.height, made.has_audio) == (3 * SIDE, SIDE, True)
    assert len(made.times) == len(source.times)
    frame = next(iter(VideoReader(made).frames([40])))
    true, own = frame[:, SIDE : 2 * SIDE].astype(int), frame[:, 2 * SIDE :].astype(int)
    lower = slice(int(SIDE * 0.55), SIDE)
    # only the mouth speaks other words
    assert abs(true - own)[lower].mean() > 2 * abs(true - own)[: SIDE // 3].mean()
    draw_openings([clip], [output], models, tmp_path / "o.png")
    assert (tmp_path / "o.png").stat().st_size > 5000
