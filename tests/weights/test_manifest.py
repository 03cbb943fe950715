"""The bundled manifest and files agree, and a manifest that lies is refused."""

from __future__ import annotations

import json

import pytest

from personatalk_core.errors import OptionsError, WeightsError
from personatalk_core.weights.manifest import (
    BUNDLED_FOLDER,
    WEIGHT_KINDS,
    default_file,
    format_manifest,
    make_manifest,
    parse_manifest,
    read_manifest,
    write_manifest,
)

LARGEST_BUNDLED = 16_000_000  # bytes; what is cloned with the code stays small


def test_bundled_manifest_is_that_of_the_bundled_files():
    assert read_manifest(BUNDLED_FOLDER) == make_manifest(BUNDLED_FOLDER), (
        "run: python -m personatalk_core.weights.manifest"
    )


def test_no_bundled_file_is_unlisted():
    listed = {entry.file for entry in read_manifest(BUNDLED_FOLDER).values()}
    there = {path.name for suffix in ("*.safetensors", "*.task") for path in BUNDLED_FOLDER.glob(suffix)}
    assert there == listed


@pytest.mark.parametrize("entry", read_manifest(BUNDLED_FOLDER).values(), ids=lambda entry: entry.name)
def test_bundled_file_is_small(entry):
    assert entry.bytes <= LARGEST_BUNDLED


def test_only_plain_formats_are_bundled():
    others = [
        p.name
        for p in BUNDLED_FOLDER.iterdir()
        if p.suffix in {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".onnx", ".tflite"}
    ]
    assert others == []


def test_round_trip(weights_folder):
    entries = read_manifest(weights_folder)
    assert list(entries) == ["face_model", "renderer", "face_landmarker"]
    assert entries == make_manifest(weights_folder) == parse_manifest(format_manifest(entries), "text")
    before = (weights_folder / "manifest.json").read_bytes()
    write_manifest(weights_folder)
    assert (weights_folder / "manifest.json").read_bytes() == before


def test_a_folder_without_a_manifest_lists_nothing(tmp_path):
    assert read_manifest(tmp_path) == {}


def test_names():
    assert {name: default_file(name) for name in WEIGHT_KINDS} == {
        "face_model": "face_model.safetensors",
        "audio_encoder": "audio_encoder.safetensors",
        "lip_sync": "lip_sync.safetensors",
        "renderer": "renderer.safetensors",
        "style_metric": "style_metric.safetensors",
        "sync_judge": "sync_judge.safetensors",
        "speech_ridge": "speech_ridge.safetensors",
        "face_landmarker": "face_landmarker.task",
    }
    with pytest.raises(OptionsError, match="named 'nose' but expected one of face_model"):
        default_file("nose")


def manifest_with(**changes) -> str:
    row = {
        "name": "renderer",
        "file": "renderer.safetensors",
        "sha256": "a" * 64,
        "bytes": 10,
        "kind": "renderer",
        **changes,
    }
    return json.dumps({"version": 1, "files": [row]})


def test_the_unchanged_row_is_accepted():
    assert parse_manifest(manifest_with(), "m")["renderer"].bytes == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../renderer.safetensors"},
        {"file": "/etc/renderer.safetensors"},
        {"file": "a\\b.safetensors"},
        {"file": ".safetensors"},
        {"file": "renderer.pt"},
        {"file": "renderer.task"},
        {"file": "renderer.safetensors\n"},
        {"file": 3},
        {"sha256": "a" * 63},
        {"sha256": "A" * 64},
        {"sha256": None},
        {"bytes": -1},
        {"bytes": 0},
        {"bytes": "10"},
        {"kind": "lip_sync"},
        {"name": 5},
    ],
    ids=str,
)
def test_impossible_rows_are_refused(changes):
    with pytest.raises(WeightsError, match="^m gives|^m has an entry"):
        parse_manifest(manifest_with(**changes), "m")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{}",
        '{"version": 1}',
        '{"version": "x", "files": []}',
        '{"version": 1, "files": [1]}',
        '{"version": 1, "files": [{"name": "renderer"}]}',
        '{"version": 1, "files": 4}',
    ],
)
def test_not_a_manifest(text):
    with pytest.raises(WeightsError, match="m is not a weights manifest"):
        parse_manifest(text, "m")


def test_newer_version_and_double_names():
    with pytest.raises(WeightsError, match="version 2 but this release reads up to 1"):
        parse_manifest('{"version": 2, "files": []}', "m")
    twice = json.loads(manifest_with())
    twice["files"] *= 2
    with pytest.raises(WeightsError, match="the same name twice"):
        parse_manifest(json.dumps(twice), "m")


def test_a_name_of_a_later_release_is_left_out():
    assert parse_manifest(manifest_with(name="tongue", kind="tongue", file="tongue.safetensors"), "m") == {}
