"""A style comes back from its file as it was, and a hostile file is one sentence."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, WeightsError
from personatalk_core.speech.style import extract_style
from personatalk_core.speech.style_file import jpeg_size, load_style, save_style
from personatalk_core.weights.checkpoint import save_checkpoint


def jpeg(height, width):
    return cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


@pytest.mark.parametrize("thumbnail", [b"", jpeg(40, 60)])
def test_everything_comes_back(tmp_path, networks, face_model, moving_face, thumbnail):
    style = extract_style(moving_face(), networks, face_model, name="Zoë", thumbnail=thumbnail)
    save_style(tmp_path / "s.safetensors", style)
    again = load_style(tmp_path / "s.safetensors", face_model, networks)
    assert torch.equal(again.vector, style.vector)
    assert (again.name, again.thumbnail, again.source, again.network) == (
        "Zoë",
        thumbnail,
        style.source,
        style.network,
    )


def test_refuses_the_style_of_other_weights_and_face_models(tmp_path, networks, face_model, moving_face):
    style = extract_style(moving_face(), networks, face_model, name="a")
    save_style(tmp_path / "s.safetensors", style)
    with pytest.raises(FaceModelMismatchError, match="extract it again"):
        load_style(tmp_path / "s.safetensors", networks=replace(networks, sha256="other"))
    with pytest.raises(FaceModelMismatchError, match="extract it again"):
        load_style(tmp_path / "s.safetensors", replace(face_model, sha256="other"))


def test_refuses_what_is_no_style(tmp_path):
    save_checkpoint(tmp_path / "s.safetensors", {"vector": torch.zeros(2)}, kind="style", config={})
    with pytest.raises(WeightsError, match="not a complete style file"):
        load_style(tmp_path / "s.safetensors")
    with pytest.raises(WeightsError):
        load_style(tmp_path / "missing.safetensors")


def resized(picture, height, width):
    """The same bytes with another size in the frame header: what a decompression bomb looks like."""
    at = picture.index(b"\xff\xc0")
    return picture[: at + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + picture[at + 9 :]


def test_the_size_of_a_jpeg_is_read_from_its_header():
    assert jpeg_size(jpeg(40, 61)) == (40, 61)
    assert jpeg_size(resized(jpeg(40, 61), 65000, 3)) == (65000, 3)
    assert jpeg_size(b"") is jpeg_size(b"\xff\xd8") is jpeg_size(b"\x89PNG") is None


@pytest.mark.parametrize(
    "thumbnail",
    [b"\xff\xd8jpeg\xff\xd9", b"GIF89a", resized(jpeg(8, 8), 65000, 65000), resized(jpeg(8, 8), 0, 8)],
)
def test_thumbnails_that_are_bombs_or_no_pictures_are_refused(
    tmp_path, networks, face_model, moving_face, thumbnail
):
    save_style(
        tmp_path / "s.safetensors",
        extract_style(moving_face(), networks, face_model, name="a", thumbnail=thumbnail),
    )
    with pytest.raises(WeightsError, match="thumbnail"):
        load_style(tmp_path / "s.safetensors")


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31m", "x" * 301, 3, None, ["../a"]])
def test_names_that_are_no_plain_text_are_refused(tmp_path, networks, face_model, moving_face, name):
    style = extract_style(moving_face(), networks, face_model, name="a")
    save_style(tmp_path / "s.safetensors", replace(style, name=name))
    with pytest.raises(WeightsError, match="name"):
        load_style(tmp_path / "s.safetensors")


def test_a_name_with_a_path_in_it_names_no_file(tmp_path, networks, face_model, moving_face):
    """Names are shown, never opened: the file keeps the name it was saved under."""
    style = extract_style(moving_face(), networks, face_model, name="../../evil")
    save_style(tmp_path / "s.safetensors", style)
    assert load_style(tmp_path / "s.safetensors").name == "../../evil"
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_style_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "s.safetensors").open("wb") as stream:
        stream.truncate(5 << 30)  # a hole: takes no room
    with pytest.raises(WeightsError, match="at most"):
        load_style(tmp_path / "s.safetensors")
