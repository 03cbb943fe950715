"""The quality filter on clips made for each of its reasons out of the two AI-made faces that install with the
project."""

from __future__ import annotations

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from personatalk_core.cli.parser import main
from personatalk_core.errors import OptionsError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.media.video_reader import probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames
from personatalk_core.training.data import preparation, prepared_folder
from personatalk_core.training.data.clip_faults import ClipReadings, sound_fault, swell, sync_of
from personatalk_core.training.data.hold_out import draw_speakers
from personatalk_core.training.data.preparation import ClipTools, prepare_folder
from personatalk_core.training.data.prepared_folder import describe, prepare_data
from personatalk_core.types import AudioClip, ClipFrames, Timeline

FPS = 15
SECONDS = 2


def write(path, frames, sound=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    order = np.arange(len(frames))
    timeline = Timeline(order, order / FPS, np.full(len(frames), 1 / FPS))
    audio = None if sound is None else AudioClip(sound[None].astype(np.float32), 16000)
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], timeline, audio=audio) as video:
        for frame in frames:
            video.write(np.ascontiguousarray(frame))


def shrunk(frames, side):
    """Each frame at a smaller size in the middle of a grey one as large as before."""
    out = np.full_like(frames, 120)
    first = (frames.shape[1] - side) // 2
    for k, frame in enumerate(frames):
        out[k, first : first + side, first : first + side] = cv2.resize(
            frame, (side, side), interpolation=cv2.INTER_AREA
        )
    return out


def in_time_with_the_mouth(monkeypatch):
    """A listener that hears a sound's loudness as an opening, so that clips in and out of sync can be
    made."""
    monkeypatch.setattr(ClipTools, "hear", property(lambda self: loudness_heard))


def loudness_heard(samples, frames):
    import torch

    padded = torch.zeros(frames * 640)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    return padded.reshape(frames, 640).square().mean(dim=1).sqrt()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    woman = sample_frames("woman")[: FPS * SECONDS]
    man = np.stack(
        [
            cv2.resize(f, (350, 350), interpolation=cv2.INTER_AREA)
            for f in sample_frames("man")[: FPS * SECONDS]
        ]
    )
    speech = speech_samples(read_audio(DEMO_SPEECH))[: 16000 * SECONDS]
    time = np.arange(16000 * SECONDS) / 16000
    chord = 0.2 * sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    write(folder / "anna" / "good.mp4", woman, voiced(woman))
    shutil.copy(folder / "anna" / "good.mp4", folder / "anna" / "good_again.mp4")
    write(folder / "anna" / "other_words.mp4", woman, speech[::-1].copy())
    write(folder / "anna" / "music.mp4", woman, chord)
    write(folder / "anna" / "silent.mp4", woman, np.zeros(16000 * SECONDS))
    write(folder / "anna" / "no_sound.mp4", woman)
    write(folder / "anna" / "short.mp4", woman[:12])
    write(folder / "bert" / "two_people.mp4", np.concatenate([woman, man], axis=2))
    write(folder / "bert" / "cut.mp4", [*woman[:15], *man[:15]])
    write(folder / "bert" / "small.mp4", shrunk(woman, 110))
    write(folder / "bert" / "nobody.mp4", np.full((20, 128, 128, 3), 90, np.uint8))
    (folder / "bert" / "broken.mp4").write_bytes(b"not a video")
    return folder


def voiced(frames):
    """Noise as loud as the mouth of the frames is open: a sound that is in step by construction."""
    from personatalk_core.evaluation.metrics.landmark_distance import mouth_series
    from personatalk_core.geometry.fitting import estimate_geometry
    from personatalk_core.tracking.track import track_face

    model = load_face_model()
    track = track_face(
        ClipFrames(lambda first: frames[first:], np.arange(len(frames)) / FPS, frames[0].shape[:2])
    )
    opening = mouth_series(estimate_geometry(track, model), model)[0].numpy()
    level = (opening - opening.min()) / max(float(np.ptp(opening)), 1e-6) + 0.002
    samples = np.interp(
        np.arange(16000 * len(frames) // FPS) / 16000, (np.arange(len(frames)) + 0.5) / FPS, level
    )
    return 0.3 * samples * np.random.default_rng(0).standard_normal(len(samples))


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        in_time_with_the_mouth(patch)
        path = prepare_data(data, out)
    return out, json.loads(path.read_text())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("anna/good_again.mp4", "the same file as anna/good.mp4"),
        ("anna/other_words.mp4", "no sync"),
        ("anna/music.mp4", "music or noise"),
        ("anna/silent.mp4", "silent"),
        ("anna/no_sound.mp4", "no sound"),
        ("anna/short.mp4", "too short: 0.80 s"),
        ("bert/two_people.mp4", "several faces"),
        ("bert/cut.mp4", "cuts: 1, the first at 1.00 s"),
        ("bert/small.mp4", "too small"),
        ("bert/nobody.mp4", "no face was found"),
        ("bert/broken.mp4", "broken.mp4"),
    ],
)
def test_every_dropped_clip_has_its_reason(prepared, name, reason):
    assert reason in prepared[1]["dropped"][name]


def test_what_is_kept_is_at_25_fps_and_16_khz_in_crops_of_256(prepared):
    out, manifest = prepared
    assert list(manifest["clips"]) == ["anna/good.mp4"]
    entry = manifest["clips"]["anna/good.mp4"]
    info = probe(out / entry["video"]["file"])
    assert (info.width, info.height, float(info.rate), info.frame_count) == (
        256,
        256,
        25.0,
        entry["frames"],
    ) and entry["seconds"] == 2.0
    sound = read_audio(out / entry["sound"]["file"])
    assert sound.sample_rate == 16000 and abs(sound.samples.shape[1] - 2 * 16000) < 800
    assert read_audio(info.path).sample_rate == 16000
    for part in (entry["video"], entry["sound"]):
        assert hashlib.sha256((out / part["file"]).read_bytes()).hexdigest() == part["sha256"]
    assert entry["readings"]["sync_r"] > 0.35 and entry["face_height"] > 80 and entry["speaker"] == "anna"
    assert "1 clips of 1 speakers" in describe(
        out / "manifest.json"
    ) and "dropped 11 of 12 videos" in describe(out / "manifest.json")


def test_a_second_run_makes_nothing_again(prepared, data, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(prepared_folder, "write_crops", fail)
    monkeypatch.setattr(preparation, "fit_video", fail)
    out, manifest = prepared
    shutil.copytree(out, out.parent / "again")
    small = out.parent / "raw_again"
    shutil.copytree(data / "anna", small / "anna")
    found = json.loads(prepare_data(small, out.parent / "again").read_text())
    assert found["clips"] == manifest["clips"]


def test_a_changed_file_is_made_again(prepared, data, tmp_path, monkeypatch):
    in_time_with_the_mouth(monkeypatch)
    out, manifest = prepared
    shutil.copytree(out, tmp_path / "out")
    video = tmp_path / "out" / manifest["clips"]["anna/good.mp4"]["video"]["file"]
    video.write_bytes(b"cut off")
    (tmp_path / "raw" / "anna").mkdir(parents=True)
    shutil.copy(data / "anna" / "good.mp4", tmp_path / "raw" / "anna")
    prepare_data(tmp_path / "raw", tmp_path / "out")
    assert probe(video).frame_count == 50


def test_a_prepared_folder_can_be_trained_from(prepared, tmp_path, monkeypatch):
    in_time_with_the_mouth(monkeypatch)
    out, _manifest = prepared
    clips, left_out = prepare_folder(out, tmp_path, load_face_model())
    assert [(c.speaker, c.sound_fault, left_out) for c in clips] == [("anna", "", {})]
    assert len(clips[0].samples) == pytest.approx(2 * 16000, abs=800)


def test_silent_clips_are_kept_where_they_are_asked_for(prepared, data, tmp_path):
    out, _ = prepared
    shutil.copytree(out / "cache", tmp_path / "out" / "cache")
    (tmp_path / "raw").mkdir()
    shutil.copy(data / "anna" / "no_sound.mp4", tmp_path / "raw" / "carla__no_sound.mp4")
    manifest = json.loads(prepare_data(tmp_path / "raw", tmp_path / "out", with_silent=True).read_text())
    entry = manifest["clips"]["carla__no_sound.mp4"]
    assert entry["sound"] is None and entry["sound_fault"] == "no sound." and entry["speaker"] == "carla"
    with pytest.raises(OptionsError, match="were dropped"):
        prepare_data(tmp_path / "raw", tmp_path / "out")


def test_a_speaker_stays_on_one_side_when_others_come():
    many = {f"s{k}": 100 for k in range(60)}
    few = {name: many[name] for name in list(many)[:20]}
    held = draw_speakers(many, 0.15)
    assert 3 <= len(held) <= 16 and draw_speakers(few, 0.15) == held & set(few)
    assert len(draw_speakers({"a": 1, "b": 1}, 0.01)) == 1 and draw_speakers({"a": 1}, 0.5) <= {"a"}
    assert draw_speakers({"a": 1, "b": 1}, 0.0) == set()


def test_the_speaker_with_the_most_material_always_trains():
    frames = {f"s{k}": 100 for k in range(20)}
    drawn = sorted(draw_speakers(frames, 0.3))
    assert len(drawn) > 2
    assert sorted(draw_speakers(frames | {drawn[0]: 101}, 0.3)) == drawn[1:]
    assert draw_speakers({"a": 1, "b": 2}, 1.0) == {"a"}


def test_speech_swells_and_held_tones_and_noise_do_not():
    time = np.arange(32000) / 16000
    assert swell(speech_samples(read_audio(DEMO_SPEECH))) > 4
    assert swell(np.sin(2 * np.pi * 220 * time)) < 1 > swell(np.random.default_rng(0).standard_normal(32000))
    assert "music" in sound_fault(np.ones(3200), ClipReadings(swell=1.0, sync_r=0.9))
    assert "no sync" in sound_fault(np.ones(3200), ClipReadings(swell=6.0, sync_r=0.1))
    assert sound_fault(np.ones(3200), ClipReadings(swell=6.0, sync_r=0.6)) == ""


def test_sync_finds_how_late_a_mouth_is():
    from personatalk_core.evaluation.metrics.landmark_distance import mouth_series
    from personatalk_core.evaluation.speed.synthetic_clip import synthetic_clip

    model = load_face_model()
    geometry = synthetic_clip(model, 60, seed=1).geometry
    opening = mouth_series(geometry, model)[0]
    r, lag = sync_of(
        np.zeros(60 * 640, np.float32), geometry, model, lambda samples, frames: opening.roll(-3)[:frames]
    )
    assert lag == 3.0 and r > 0.95


def test_the_command_prints_what_was_dropped(data, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    shutil.copy(data / "bert" / "broken.mp4", tmp_path / "raw")
    assert main(["prepare", "--data", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "all 1 videos" in capsys.readouterr().err
    assert main(["prepare", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert main(["prepare", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--held-out", "2"]) == 2
