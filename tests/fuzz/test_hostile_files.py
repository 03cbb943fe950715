"""Whatever the bytes, only a declared error comes out: files that strangers send, and text that strangers
write.

Each test is one target, with as many thousands of cases under ``make fuzz`` as ``thousands`` says.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from personatalk_core.batch.manifest import manifest_options, read_manifest
from personatalk_core.cli import main
from personatalk_core.cli.options import parse_hub
from personatalk_core.config import FaceChoice
from personatalk_core.errors import PersonaTalkError
from personatalk_core.geometry.geometry_file import TENSORS, load_geometry
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.image_sequence import find_sequence, is_sequence
from personatalk_core.media.mp4_boxes import clean_aperture
from personatalk_core.media.provenance import read_marks
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.rendering.frame_list import parse_frames
from personatalk_core.speech.style_file import load_style
from personatalk_core.weights.checkpoint import load_checkpoint
from personatalk_core.weights.manifest import parse_manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DTYPES = [
    "F64",
    "F32",
    "F16",
    "BF16",
    "F8_E5M2",
    "F8_E4M3",
    "I64",
    "I32",
    "I8",
    "U8",
    "BOOL",
    "C64",
    "F4",
    "X",
]
LENGTHS = st.integers(-5, 300) | st.sampled_from(
    [0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -1]
)


def thousands(count: int):
    """So many times the cases that the profile states."""
    return settings(max_examples=count * settings.default.max_examples)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def declared(call, *arguments, **named):
    """Run it: a value or a PersonaTalkError, which is one sentence without line breaks of ours."""
    try:
        return call(*arguments, **named)
    except PersonaTalkError as error:
        assert str(error).strip()
        return None


@st.composite
def damaged(draw, originals):
    """A good file with some bytes changed, cut, repeated or put in, at its beginning more often than
    elsewhere."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 12))):
        if not data:
            break
        reach = len(data) if draw(st.booleans()) else min(len(data), 512)
        at = draw(st.integers(0, reach - 1))
        kind = draw(st.integers(0, 9))
        if kind < 6:
            data[at] = draw(st.integers(0, 255))
        elif kind == 6:
            del data[at:]
        elif kind == 7:
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == 8:
            data[at : at + 4] = draw(
                st.sampled_from(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01"]
                )
            )
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


# Weights, styles, geometry


@st.composite
def safetensors_bytes(draw, kind: str, names):
    """A header that may lie about shapes, types and places, before bytes that may not be there."""
    header = {}
    for name in draw(st.lists(st.sampled_from(names) | st.text(max_size=6), max_size=4, unique=True)):
        begin = draw(LENGTHS)
        header[name] = {
            "dtype": draw(st.sampled_from(DTYPES)),
            "shape": draw(st.lists(LENGTHS, max_size=3)),
            "data_offsets": [
                begin,
                draw(LENGTHS) if draw(st.booleans()) else begin + draw(st.integers(0, 64)),
            ],
        }
    entry = draw(
        JSON | st.fixed_dictionaries({"kind": st.just(kind), "version": st.just(1) | JSON, "config": JSON})
    )
    if draw(st.integers(0, 3)):
        text = (
            draw(st.sampled_from([json.dumps(entry), "[" * 5000, "{", "null"]))
            if draw(st.booleans())
            else json.dumps(entry)
        )
        header["__metadata__"] = {"personatalk": text}
    body = json.dumps(header).encode() if draw(st.integers(0, 9)) else draw(st.binary(max_size=40))
    stated = len(body) if draw(st.integers(0, 4)) else draw(st.integers(0, 2**64 - 1))
    return struct.pack("<Q", stated) + body + draw(st.binary(max_size=200))


@thousands(5)
@given(data=safetensors_bytes("renderer", ["a", "b"]) | st.binary(max_size=100))
def test_safetensors_headers(place, data):
    (place / "w.safetensors").write_bytes(data)
    declared(load_checkpoint, place / "w.safetensors", kind="renderer")


def packed(kind: str, tensors: dict, config: object) -> bytes:
    return save(tensors, metadata={"personatalk": json.dumps({"kind": kind, "version": 1, "config": config})})


TENSOR = st.builds(
    lambda shape, kind, fill: torch.full(shape, fill).to(kind),
    st.lists(st.integers(0, 5), max_size=3),
    st.sampled_from(
        [
            torch.float32,
            torch.float16,
            torch.float64,
            torch.bfloat16,
            torch.int64,
            torch.uint8,
            torch.bool,
            torch.float8_e5m2,
        ]
    ),
    st.sampled_from([0.0, 1.0, 3.0, 200.0, float("nan"), float("inf"), -1.0]),
)
JPEG = cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
PICTURE = st.sampled_from([JPEG, b"", JPEG[:30]]).map(
    lambda data: torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8)
)
STYLE = st.fixed_dictionaries(
    {},
    optional={name: st.text(max_size=12) | JSON for name in ("name", "face_model", "network", "source")}
    | {"thumbnail_bytes": st.just(len(JPEG)) | st.integers(-3, 10**20) | JSON},
)


@thousands(10)
@given(
    vector=TENSOR,
    thumbnail=PICTURE | TENSOR,
    config=STYLE | JSON,
    raw=st.none() | safetensors_bytes("style", ["vector", "thumbnail"]),
)
def test_style_files(place, vector, thumbnail, config, raw):
    data = raw if raw is not None else packed("style", {"vector": vector, "thumbnail": thumbnail}, config)
    (place / "s.safetensors").write_bytes(data)
    declared(load_style, place / "s.safetensors")


GEOMETRY = {
    "identity": (3,),
    "expression": (2, 4),
    "rotation": (2, 3),
    "translation": (2, 2),
    "scale": (2,),
    "status": (2,),
    "shot": (2,),
    "source_frame": (2,),
    "times": (2,),
    "durations": (2,),
}
DESCRIBED = {"frame_size": [40, 60], "face_model": "f", "source": "s", "audio": ["", ""]}


@thousands(8)
@given(
    changed=st.dictionaries(st.sampled_from(sorted(GEOMETRY)), TENSOR | st.none(), max_size=3),
    own=st.booleans(),
    config=st.fixed_dictionaries({}, optional=dict.fromkeys(DESCRIBED, JSON) | {"reference.": JSON}),
    raw=st.none() | safetensors_bytes("geometry", sorted(GEOMETRY)),
)
def test_geometry_files(place, changed, own, config, raw):
    tensors = {name: torch.ones(shape).to(TENSORS[name]) for name, shape in GEOMETRY.items()}
    tensors["times"] = torch.tensor([0.0, 0.04], dtype=torch.float64)
    tensors = {name: tensor for name, tensor in (tensors | changed).items() if tensor is not None}
    described = DESCRIBED | config
    if own:
        tensors |= {f"reference.{name}": tensor.clone() for name, tensor in tensors.items()}
        described = {"reference.": DESCRIBED} | described
    (place / "g.safetensors").write_bytes(raw if raw is not None else packed("geometry", tensors, described))
    geometry = declared(load_geometry, place / "g.safetensors")
    if geometry is not None:
        assert (
            geometry.frame_count >= 1 and (geometry.times.diff() > 0).all() and (geometry.durations > 0).all()
        )


# Text: manifests, workflow values, options

PATHS = [
    "v.mp4",
    "../v.mp4",
    "/etc/passwd",
    "C:\\x.mp4",
    "a/../../b.mp4",
    "o.mp4",
    "x/y.mkv",
    ".",
    "",
    "\0",
    "con.mp4",
    "%d.png",
    "~/o.mp4",
]
FIELDS = ["video", "audio", "out", "style", "mask_out", *manifest_options(), "device", "x"]
JOB = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(PATHS) | JSON, max_size=6)
GOOD_JOB = st.builds(lambda more: {"video": "v.mp4", "audio": "a.wav", "out": "o.mp4", **more}, JOB)


@thousands(6)
@given(rows=st.lists(JOB | GOOD_JOB | JSON, max_size=4), raw=st.none() | st.binary(max_size=120))
def test_batch_manifests(place, rows, raw):
    data = raw if raw is not None else "\n".join(json.dumps(row) for row in rows).encode()
    (place / "jobs.jsonl").write_bytes(data)
    for job in declared(read_manifest, place / "jobs.jsonl") or ():
        for name in filter(None, (job.out, job.mask_out, job.report)):
            assert (place / name).resolve().is_relative_to(place.resolve())


@thousands(12)
@given(
    data=JSON | st.fixed_dictionaries({"version": st.just(1) | JSON, "files": st.lists(JSON, max_size=3)}),
    raw=st.none() | st.text(),
)
def test_weight_manifests(data, raw):
    for entry in (
        declared(parse_manifest, raw if raw is not None else json.dumps(data), "fuzz") or {}
    ).values():
        assert "/" not in entry.file and "\\" not in entry.file


WORDS = st.text(st.sampled_from("0123456789,-@:./ xyindexpoautlrgs%d\0é"), max_size=24) | st.text(max_size=12)


@thousands(25)
@given(text=WORDS)
def test_texts_of_options_and_widgets(place, text):
    declared(FaceChoice.parse, text)
    declared(parse_frames, text)
    declared(parse_hub, text)
    path = place / "pictures" / text
    if is_sequence(path):
        declared(find_sequence, path)


VERBS = [
    "dub",
    "geometry",
    "style",
    "animate",
    "render",
    "reconstruct",
    "evaluate",
    "benchmark-quality",
    "user-study",
    "batch",
    "train",
]
OPTIONS = [
    "--video",
    "--audio",
    "--out",
    "--style",
    "--style-strength",
    "--length",
    "--face",
    "--report",
    "--mask-out",
    "--lossless",
    "--seed",
    "--geometry",
    "--device",
    "--dtype",
    "--lip-references",
    "--face-references",
    "--exclude-window",
    "--reference",
    "--manifest",
    "--retries",
    "--runner",
    "--workers",
    "--gpus-per-worker",
    "--data",
    "--answers",
    "--key",
    "--systems",
    "--sign-certificate",
    "--sign-key",
    "--no-provenance",
    "--quiet",
    "--hub",
    "--rows",
]
VALUES = [
    "nowhere.mp4",
    "nowhere.wav",
    "out.mp4",
    "out.txt",
    "1",
    "-1",
    "nan",
    "1e400",
    "cpu",
    "fp32",
    "point:1,2@3",
    "bounce",
    "a=b",
    "one-by-one",
    "half.safetensors",
    "half.jsonl",
    "half.mp4",
    "f%d.png",
] + ["", "\ud800", "x" * 300]
ARGUMENTS = st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=8), max_size=14)
LONG = "x" * 300
WHOLE = st.sampled_from(
    [
        f"dub --video {LONG} --audio half.wav --out o.mp4",
        f"dub --video half.mp4 --audio {LONG} --out o.mp4 --style {LONG}",
        f"render --video half.mp4 --geometry {LONG} --out o.mp4",
        f"batch --manifest {LONG} --out o",
        f"dub --video half.mp4 --audio half.wav --out {LONG}.mp4",
        f"dub --video half.mp4 --audio half.wav --out {LONG}%d.png",
        "dub --video half.mp4 --audio half.mp4 --out o.mp4",
        "render --video half.mp4 --geometry half.safetensors --out o.mp4",
        "batch --manifest half.jsonl --out o",
        "animate --geometry half.safetensors --audio half.wav --out o.safetensors",
        "user-study --answers half.csv --key half.jsonl",
    ]
)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    for suffix in ("mp4", "wav", "csv", "jsonl", "safetensors"):
        (folder / f"half.{suffix}").write_bytes(b'{"video": 1')
    return folder


@thousands(3)
@given(verb=st.sampled_from(VERBS), words=ARGUMENTS, whole=st.none() | WHOLE)
def test_command_lines(halves, verb, words, whole):
    before = sorted(p.name for p in halves.iterdir())
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        patch.chdir(halves)
        patch.setattr(
            "personatalk_core.models.load_models",
            lambda *_, **__: SimpleNamespace(face_model=SimpleNamespace(sha256="f"), speech=None),
        )
        try:
            code = main([*whole.split(), *words] if whole else [verb, *words])
        except SystemExit as stop:  # argparse's own refusals
            code = stop.code
    assert code in (0, 2)
    assert code == 0 or sorted(p.name for p in halves.iterdir()) == before, (
        "a refused command wrote something"
    )


# Sound and video


def sound_file(path, codec: str, rate: int, layout: str) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.layout = layout
        form, channels = stream.codec_context.format, stream.codec_context.layout.nb_channels
        kind = np.float32 if "flt" in form.name else np.int16
        samples = np.zeros((channels, 800) if form.is_planar else (1, 800 * channels), kind)
        frame = av.AudioFrame.from_ndarray(samples, format=form.name, layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def video_file(path, codec: str, pixel_format: str) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1", "g": "2"})
        stream.width, stream.height, stream.pix_fmt = 32, 16, pixel_format
        for number in range(4):
            picture = np.full((16, 32, 3), 40 * number, np.uint8)
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
                )
            )
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    kinds = (
        ("a.wav", "pcm_s16le", 8000, "mono"),
        ("b.wav", "pcm_f32le", 48000, "5.1"),
        ("c.flac", "flac", 16000, "stereo"),
        ("d.m4a", "aac", 44100, "stereo"),
        ("e.mka", "pcm_s16le", 16000, "mono"),
    )
    return [sound_file(folder / name, *rest) for name, *rest in kinds]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    kinds = (
        ("a.mp4", "libx264", "yuv420p"),
        ("b.mkv", "libx264", "yuv420p"),
        ("c.webm", "libvpx", "yuv420p"),
        ("d.gif", "gif", "rgb8"),
        ("e.avi", "mjpeg", "yuvj420p"),
        ("f.mov", "qtrle", "rgb24"),
        ("g.ts", "mpeg2video", "yuv420p"),
    )
    found = [video_file(folder / name, *rest) for name, *rest in kinds]
    if hasattr(cv2, "imwriteanimation"):
        animation = cv2.Animation()
        animation.frames = [np.full((16, 32, 4), 40 * n, np.uint8) for n in range(3)]
        animation.durations = np.array([40, 40, 40], np.int32)
        cv2.imwriteanimation(str(folder / "h.webp"), animation)
        found.append((folder / "h.webp").read_bytes())
    return found


@thousands(9)
@given(data=st.data())
def test_sound_headers(place, sounds, data):
    (place / "sound").write_bytes(data.draw(damaged(sounds)))
    clip = declared(read_audio, place / "sound")
    if clip is not None:
        assert clip.samples.shape[1] >= 1 and np.isfinite(clip.samples).all()


@thousands(9)
@given(data=st.data())
def test_video_headers(place, videos, data):
    path = place / "video"
    path.write_bytes(data.draw(damaged(videos)))
    info = declared(probe, path)
    if info is not None:
        for frame in declared(lambda: list(VideoReader(info).frames(range(min(6, info.frame_count))))) or ():
            assert frame.shape == (info.height, info.width, 3)


BOXES = st.lists(
    st.sampled_from([b"moov", b"trak", b"uuid", b"\0\0\0\x08", b"\0\0\0\x01", b"\xff" * 8]), max_size=12
).map(b"".join)


@thousands(20)
@given(data=st.binary(max_size=200) | BOXES)
def test_boxes_and_marks(place, data):
    path = place / "boxes"
    path.write_bytes(data)
    read_marks(path)
    clean_aperture(path)
