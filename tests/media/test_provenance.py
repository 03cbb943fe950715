import struct
import xml.etree.ElementTree as ElementTree

import av
import numpy as np
import pytest

from personatalk_core.media.mp4_boxes import append_uuid, file_boxes
from personatalk_core.media.provenance import C2PA_BOX, SENTENCE, provenance_metadata, read_marks
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import Timeline


def write(path, numbered, metadata, size=(96, 64)):
    with VideoWriter(
        path, *size, Timeline(np.arange(3), np.arange(3) / 25, np.full(3, 0.04)), metadata=metadata
    ) as writer:
        for number in range(3):
            writer.write(numbered(number, *size))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
def test_the_mark_comes_back_and_the_file_still_plays(tmp_path, numbered, read_number, suffix, size):
    path = write(tmp_path / f"out{suffix}", numbered, provenance_metadata(), size)
    marks = read_marks(path)
    assert marks.ai_edited and not marks.c2pa
    assert marks.source_type == "compositeWithTrainedAlgorithmicMedia"
    ElementTree.fromstring(marks.xmp.split("?>", 1)[1].rsplit("<?xpacket", 1)[0])
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == SENTENCE
    assert [read_number(f) for f in VideoReader(path).frames()] == [0, 1, 2]
    assert any("AI made or edited" in remark for remark in probe(path).remarks)


def test_matroska_carries_the_sentence(tmp_path, numbered):
    path = write(tmp_path / "out.mkv", numbered, provenance_metadata())
    with av.open(str(path)) as container:
        assert SENTENCE in {**container.metadata}.values()


def test_a_file_without_marks_says_so(tmp_path, numbered):
    path = write(tmp_path / "out.mp4", numbered, {})
    marks = read_marks(path)
    assert not marks.ai_edited and not marks.c2pa and marks.xmp == "" and marks.remarks() == ()


def test_content_credentials_are_noticed(tmp_path, numbered):
    path = write(tmp_path / "out.mp4", numbered, {})
    append_uuid(path, C2PA_BOX, b"\0\0\0\0manifest\0" + bytes(8) + b"jumb")
    assert read_marks(path).c2pa
    assert any("C2PA" in remark for remark in probe(path).remarks)


def test_a_camera_recording_is_not_called_ai(tmp_path, numbered):
    packet = provenance_metadata()["xmp"].replace("compositeWithTrainedAlgorithmicMedia", "digitalCapture")
    path = write(tmp_path / "out.mp4", numbered, {"xmp": packet})
    assert read_marks(path).source_type == "digitalCapture" and not read_marks(path).ai_edited


SHORT, WIDE, LONG = (
    struct.pack(">I4s", 4, b"ftyp"),
    struct.pack(">I4sQ", 1, b"ftyp", 3),
    struct.pack(">I4s", 1 << 31, b"moov"),
)


@pytest.mark.parametrize("data", [b"", b"\0", SHORT, WIDE, LONG, b"ftyp" * 50])
def test_nonsense_has_no_boxes_and_no_marks(tmp_path, data):
    path = tmp_path / "junk"
    path.write_bytes(data)
    with path.open("rb") as stream:
        assert file_boxes(stream) == []
    assert read_marks(path).xmp == ""


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_uuid_box_too_short_for_a_uuid_is_no_mark(tmp_path, length):
    path = tmp_path / "short"
    path.write_bytes(
        struct.pack(">I4s", 8, b"moov") + struct.pack(">I4s", 8 + length, b"uuid") + bytes(length)
    )
    assert read_marks(path).xmp == "" and not read_marks(path).c2pa
