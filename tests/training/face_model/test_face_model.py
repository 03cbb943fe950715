"""Learning a face model: a known linear world is found again, the file is reproducible, and too little data
is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.errors import OptionsError, ShapeError
from personatalk_core.geometry.camera import project
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.vertices import shape_vertices
from personatalk_core.training.face_model.tracks import TrackedClip
from personatalk_core.training.face_model.train import (
    FaceModelRecipe,
    learn_face_model,
    mirror_map,
    mirrored,
    partner_name,
    principal_components,
    write_face_model,
)
from personatalk_core.training.recipe import TrainOptions

RECIPE = FaceModelRecipe(identity_count=3, lower_count=4, upper_count=3, frames_per_person=30)
NAMES = ("jawOpen", "mouthSmileLeft", "mouthSmileRight")


@pytest.fixture(scope="module")
def clips() -> list[TrackedClip]:
    """Five people of the bundled model, each opening the mouth and smiling by known scores, seen by a turning
    camera."""
    model, generator = load_face_model(), torch.Generator().manual_seed(0)
    made = []
    for person in range(5):
        frames = 25
        scores = torch.rand(frames, 3, generator=generator)
        expression = sum(scores[:, k : k + 1] * model.direction(name) for k, name in enumerate(NAMES))
        identity = torch.randn(model.identity_count, generator=generator) * 0.5
        shape = shape_vertices(identity, expression, model)
        turn = torch.randn(frames, 3, generator=generator) * 0.1
        points = project(
            shape, turn, torch.full((frames, 2), 100.0), torch.full((frames,), 70.0 + 9 * person)
        )
        marks = np.zeros((frames, 478, 3), np.float32)
        marks[:, :468] = points[:, :468].numpy()
        made.append(TrackedClip(marks, scores.numpy(), f"person {person}"))
    return made


@pytest.fixture(scope="module")
def learned_file(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    return path, write_face_model(path, clips, RECIPE, NAMES)


def test_directions_and_mean_of_a_known_world_are_found_again(learned_file):
    learned, truth = load_face_model(learned_file[0]), load_face_model()
    assert torch.equal(learned.triangles.sort(1).values, truth.triangles.sort(1).values)
    assert torch.equal(learned.mirror, truth.mirror)
    for name in NAMES:
        a = torch.einsum("e,evc->vc", learned.direction(name), learned.expression_basis)[:468]
        b = torch.einsum("e,evc->vc", truth.direction(name), truth.expression_basis)[:468]
        cosine = float((a * b).sum() / (a.norm() * b.norm()))
        assert cosine > 0.9, name
    assert float((learned.mean - truth.mean).norm(dim=1).mean()) < 0.1
    lower, upper = learned.expression_basis[:4], learned.expression_basis[4:]
    assert float(lower[:, learned.lower_weight == 0].abs().max()) < 1e-4
    assert float(upper[:, learned.lower_weight == 1].abs().max()) < 1e-4


def test_more_clips_of_a_person_do_not_count_more_and_the_same_clips_give_the_same_bytes(
    clips, learned_file, tmp_path
):
    often = [*clips, *[clips[0]] * 3]
    recipe = replace(RECIPE, frames_per_person=25)
    assert write_face_model(tmp_path / "again.safetensors", often[:5], RECIPE, NAMES) == learned_file[1]
    tensors, _ = learn_face_model(often, recipe, NAMES)
    torch.testing.assert_close(tensors["mean"], load_face_model(learned_file[0]).mean, atol=0.02, rtol=0)


def test_too_little_is_refused(clips):
    with pytest.raises(ShapeError, match="two people"):
        learn_face_model(clips[:1], RECIPE, NAMES)
    with pytest.raises(ShapeError, match="landmarks"):
        learn_face_model([TrackedClip(np.zeros((4, 3, 3)), np.zeros((4, 3)), "a")], RECIPE, NAMES)


def test_mirror_map_pairs_the_sides():
    half = np.random.default_rng(0).normal(size=(6, 3)) + [3, 0, 0]
    shape = np.concatenate([half, half * [-1, 1, 1], [[0, 1, 2]]])
    mirror = mirror_map(shape)
    assert mirror.tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12]
    np.testing.assert_allclose(mirrored(shape, mirror), shape)


def test_partner_names():
    assert [partner_name(n) for n in ("jawLeft", "eyeBlinkRight", "jawOpen")] == [
        "jawRight",
        "eyeBlinkLeft",
        "jawOpen",
    ]


def test_components_hold_one_standard_deviation():
    generator = np.random.default_rng(0)
    direction = np.array([[[0.6, 0, 0], [0, 0.8, 0]]])
    data = generator.normal(size=(4000, 1, 1)) * 2 * direction
    component = principal_components(data, np.full(4000, 1 / 4000), np.ones((2, 3)), 1)
    np.testing.assert_allclose(np.abs(component), 2 * direction, atol=0.08)


def test_the_command_tracks_a_folder_and_learns_from_it(tmp_path, monkeypatch, clips):
    import personatalk_core.training.face_model.tracks as tracks
    import personatalk_core.training.face_model.train as training

    (tmp_path / "data").mkdir()
    for k in range(3):
        (tmp_path / "data" / f"p{k}__clip.mp4").write_bytes(bytes([k]))
    seen = {
        f"p{k}__clip.mp4": (clips[k].landmarks[: 12 if k else 3], clips[k].blendshapes[: 12 if k else 3])
        for k in range(3)
    }
    monkeypatch.setattr(tracks, "tracked_frames", lambda video, cache: seen[video.name])
    learned, calls = [], []
    monkeypatch.setattr(
        training, "write_face_model", lambda path, clips: learned.append((path, [c.person for c in clips]))
    )
    path = training.train_face_model(
        tmp_path / "data",
        tmp_path / "out",
        TrainOptions(seed=3),
        on_progress=lambda *step: calls.append(step),
    )
    assert learned == [(path, ["p1", "p2"])]  # three frames of p0 are too few
    assert calls == [(1, 3), (2, 3), (3, 3)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionsError, match="no video"):
        tracks.tracked_clips(tmp_path / "empty", tmp_path)
