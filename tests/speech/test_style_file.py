from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, WeightsError
from personatalk_core.speech.style import extract_style
from personatalk_core.speech.style_file import load_style, save_style
from personatalk_core.weights.checkpoint import save_checkpoint


@pytest.mark.parametrize("thumbnail", [b"", b"\xff\xd8jpeg\xff\xd9"])
def test_everything_comes_back(tmp_path, networks, face_model, moving_face, thumbnail):
    style = extract_style(moving_face(), networks, face_model, name="Zoë", thumbnail=thumbnail)
    save_style(tmp_path / "s.safetensors", style)
    again = load_style(tmp_path / "s.safetensors", face_model, networks)
    assert torch.equal(again.vector, style.vector)
    assert (again.name, again.thumbnail, again.source, again.network) == ("Zoë", thumbnail, style.source, style.network)


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
