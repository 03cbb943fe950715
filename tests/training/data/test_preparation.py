import shutil

import pytest

from personatalk_core.errors import OptionsError
from personatalk_core.training.data import preparation
from personatalk_core.training.data.preparation import prepare_folder, read_index, speaker_of


@pytest.fixture(scope="module")
def prepared(sample_video, tmp_path_factory):
    from personatalk_core.geometry.face_model import load_face_model

    data = tmp_path_factory.mktemp("data")
    (data / "anna").mkdir()
    shutil.copy(sample_video, data / "anna" / "one.mp4")
    (data / "broken.mp4").write_bytes(b"not a video")
    cache = tmp_path_factory.mktemp("cache")
    seen = []
    clips, left_out = prepare_folder(
        data, cache, load_face_model(), lambda done, total: seen.append((done, total))
    )
    return data, cache, clips, left_out, seen


def test_a_folder_becomes_clips(prepared):
    _, _, clips, left_out, seen = prepared
    assert [(c.name, c.speaker, c.samples, c.lag) for c in clips] == [("anna/one.mp4", "anna", None, None)]
    assert clips[0].geometry.frame_count == 56
    assert list(left_out) == ["broken.mp4"]
    assert seen == [(1, 2), (2, 2)]


def test_the_second_time_nothing_is_tracked(prepared, face_model, monkeypatch):
    data, cache, first, _, _ = prepared

    def fail(*_, **__):
        raise AssertionError("tracked again")

    monkeypatch.setattr(preparation, "track_face", fail)
    again = prepare_folder(data, cache, face_model)[0]
    assert again[0].geometry.expression.equal(first[0].geometry.expression)


def test_speakers_come_from_folders_or_names(tmp_path):
    assert speaker_of(tmp_path / "ben" / "x.mp4", tmp_path) == "ben"
    assert speaker_of(tmp_path / "carla__2024__x.mp4", tmp_path) == "carla"


def test_an_index_states_speaker_and_lag(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "INDEX.tsv").write_text("file\tspeaker\tav_lag_frames\nvideos/a.mp4\tdora\t-2\n")
    rows = read_index(tmp_path / "videos")
    assert rows[(tmp_path / "videos" / "a.mp4").resolve()]["speaker"] == "dora"
    assert read_index(tmp_path / "videos" / "deeper" / "still") == {}


def test_a_folder_without_videos_is_a_sentence(tmp_path, face_model):
    with pytest.raises(OptionsError, match="holds no video"):
        prepare_folder(tmp_path, tmp_path / "cache", face_model)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(OptionsError, match="none of the 1 videos"):
        prepare_folder(tmp_path, tmp_path / "cache", face_model)
