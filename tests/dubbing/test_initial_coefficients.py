"""The coefficient network on a real video, through the options of the command line: random weights, so only
the plumbing is judged."""

from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from personatalk_core import pipeline
from personatalk_core.cli import main
from personatalk_core.cli.options import options_of
from personatalk_core.config import DubOptions
from personatalk_core.dubbing.initial_coefficients import network_start
from personatalk_core.dubbing.run import Run
from personatalk_core.errors import OptionsError
from personatalk_core.geometry.coefficient_network import CoefficientNetwork
from personatalk_core.geometry.vertices import posed_vertices
from personatalk_core.media.video_reader import probe
from personatalk_core.models import load_models
from personatalk_core.types import FrameStatus


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Weights whose heads all say zero: a face that looks straight into the camera."""
    torch.manual_seed(0)
    state = CoefficientNetwork().state_dict()
    state = {name: value * 0 if name.startswith("final_layers") else value for name, value in state.items()}
    path = tmp_path_factory.mktemp("network") / "deng.safetensors"
    save_file(state, path)
    return path


def test_geometry_starts_from_the_network_and_comes_near_the_landmarks_own(sample_video, network):
    options = options_of(Namespace(initializer=str(network), device="cpu"))
    models = load_models(options, parts=())
    assert models.initializer is not None and not models.initializer.training
    info = probe(sample_video)
    track = pipeline.track(info, Run(models, options))
    status = track.status.copy()
    status[5], status[12:] = FrameStatus.COVERED, FrameStatus.NO_FACE
    track = replace(track, status=status)
    start = network_start(info, track, models.initializer, models.face_model)
    assert float(start.rotation.abs().max()) < 1e-3  # straight into the camera, as the weights say
    learned = pipeline.fit(info, track, Run(models))
    plain = pipeline.fit(info, track, Run(replace(models, initializer=None)))
    # another start ...
    assert learned.frame_count == 56 and not torch.equal(learned.rotation, plain.rotation)
    marks, seen = torch.from_numpy(track.landmarks)[:, models.face_model.landmark_id], learned.usable
    points = posed_vertices(learned, models.face_model)[:, models.face_model.landmark_vertex]
    error = (points - marks)[seen][..., :2].norm(dim=-1).mean() / learned.scale[seen].mean()
    assert float(error) < 0.03  # ... which the landmarks pull home, though these weights know no face
    assert load_models(replace(options, initializer="landmarks"), parts=()).initializer is None


def test_bad_initialisers_are_refused_in_one_sentence(sample_video, tmp_path, capsys):
    arguments = [
        "geometry",
        str(sample_video),
        "--out",
        str(tmp_path / "g.safetensors"),
        "--quiet",
        "--initializer",
    ]
    assert main([*arguments, str(tmp_path / "missing.safetensors")]) == 2
    assert "does not exist" in capsys.readouterr().err
    wrong = tmp_path / "wrong.safetensors"
    save_file({"backbone.conv1.weight": torch.zeros(1, 3, 7, 7)}, wrong)
    assert main([*arguments, str(wrong)]) == 2
    assert "wrong.safetensors" in capsys.readouterr().err
    with pytest.raises(OptionsError, match="initializer"):
        DubOptions(initializer="").verify()
