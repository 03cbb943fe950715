import json

import pytest

from personatalk_core.batch.manifest import manifest_options, read_manifest
from personatalk_core.config import DubOptions
from personatalk_core.errors import OptionsError

GOOD = {"video": "v.mp4", "audio": "a.wav", "out": "o.mp4"}


def test_every_field_arrives(write_manifest, tmp_path):
    knobs = {"length": "bounce", "style_strength": 1, "seed": 3, "lossless": True, "face": "index:1"}
    path = write_manifest(
        [GOOD, "", {**GOOD, "out": "x/o2.mkv", "style": "s.safetensors", "mask_out": "m.mp4", **knobs}]
    )
    first, second = read_manifest(path)
    assert (first.line, first.video, first.audio, first.out, first.report) == (
        1,
        tmp_path / "v.mp4",
        tmp_path / "a.wav",
        "o.mp4",
        "o.report.json",
    )
    assert (second.line, second.style, second.mask_out, second.report) == (
        3,
        tmp_path / "s.safetensors",
        "m.mp4",
        "x/o2.report.json",
    )
    options = second.dub_options(DubOptions(device="cpu"))
    assert (options.length, options.style_strength, options.seed, options.lossless, options.device) == (
        "bounce",
        1.0,
        3,
        True,
        "cpu",
    )


def test_paths_are_absolute_since_workers_may_run_elsewhere(write_manifest, tmp_path, monkeypatch):
    write_manifest([GOOD])
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert read_manifest(Path("jobs.jsonl"))[0].video == tmp_path / "v.mp4"


def test_the_documented_fields_are_the_fields():
    from pathlib import Path

    import personatalk_core.batch as package

    text = (Path(package.__file__).parent / "README.md").read_text()
    missing = [
        name
        for name in ("video", "audio", "out", "style", "mask_out", *manifest_options())
        if f"`{name}`" not in text
    ]
    assert not missing, missing


@pytest.mark.parametrize(
    "line,words",
    [
        ("{", "line 2"),
        ("[1]", "a list"),
        ("null", "NoneType"),
        ('{"video": "v"}', "'audio' is missing"),
        ({**GOOD, "out": "p.mp4", "vidoe": "v"}, "'vidoe' is unknown"),
        ({**GOOD, "out": "p.mp4", "device": "cpu"}, "command line"),
        ({**GOOD, "out": "p.mp4", "video": 3}, "'video' is 3"),
        ({**GOOD, "out": "p.mp4", "video": "a\0b"}, "'video'"),
        ({**GOOD, "out": "p.mp4", "seed": True}, "'seed' is true"),
        ({**GOOD, "out": "p.mp4", "seed": 1.5}, "a whole number"),
        ({**GOOD, "out": "p.mp4", "lossless": 1}, "true or false"),
        ({**GOOD, "out": "p.mp4", "style_strength": "2"}, "a number"),
        ({**GOOD, "out": "p.mp4", "style_strength": 9}, "style strength is 9"),
        ({**GOOD, "out": "p.mp4", "length": "longer"}, "length is 'longer'"),
        ({**GOOD, "out": "p.mp4", "face": "left"}, "face is 'left'"),
        ('{"video": "v", "audio": "a", "out": "p.mp4", "style_strength": NaN}', "NaN"),
        ('{"video": "v", "video": "w", "audio": "a", "out": "p.mp4"}', "twice"),
        ("[" * 100_000, "line 2"),
        ({**GOOD}, "written by line 1"),
        ({**GOOD, "out": "O.MP4"}, "written by line 1"),
        ({**GOOD, "out": "o.mkv"}, "written by line 1"),
        ({**GOOD, "out": "p.mp4", "mask_out": "p.mp4"}, "'p.mp4'"),
    ],
)
def test_a_mistake_is_named_by_line_and_field(write_manifest, line, words):
    path = write_manifest([GOOD, line])
    with pytest.raises(OptionsError) as caught:
        read_manifest(path)
    assert "line 2" in str(caught.value) and words in str(caught.value)


TRICKS = [
    "../o.mp4",
    "/tmp/o.mp4",
    "a/../../o.mp4",
    "C:\\o.mp4",
    "C:o.mp4",
    "a\\..\\o.mp4",
    "\\\\host\\o.mp4",
    ".hidden.mp4",
    ".",
    "",
    "o.txt",
    "o.mp4/",
    "a/.b/o.mp4",
    "o.mp4:stream",
    "x" * 300 + ".mp4",
    "n\nl.mp4",
    "results.jsonl",
]


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("field", ["out", "mask_out"])
def test_nothing_is_written_outside_the_folder(write_manifest, field, name):
    if name == "o.mp4/":
        # the same file, still inside
        assert read_manifest(write_manifest([{**GOOD, "out": name}]))[0].out == "o.mp4"
        return
    with pytest.raises(OptionsError, match=f"line 1: field '{field}'"):
        read_manifest(write_manifest([{**GOOD, "out": "fine.mp4", field: name}]))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00", b'{"video": "\xff"}', b"x" * (2 << 20)])
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(content)
    with pytest.raises(OptionsError):
        read_manifest(path)


def test_a_missing_manifest_is_one_sentence(tmp_path):
    with pytest.raises(OptionsError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(OptionsError, match="cannot be read"):
        read_manifest(tmp_path)


def test_many_jobs_are_read_quickly(write_manifest):
    path = write_manifest([json.dumps({**GOOD, "out": f"{i}.mp4"}) for i in range(5000)])
    assert len(read_manifest(path)) == 5000
