"""Algorithm 1: lip references spread over the sorted openings, face references around the frame, exclusions
honoured."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import FaceError, OptionsError
from personatalk_core.geometry.vertices import canonical_vertices, mouth_opening
from personatalk_core.rendering.references import (
    ReferenceOptions,
    allowed_references,
    nearest_frames,
    sample_references,
    select_references,
    spread_by_opening,
)
from personatalk_core.types import FaceGeometry, FrameStatus


def geometry(face_model, frames: int = 40, bad: tuple[int, ...] = (), cut: int | None = None) -> FaceGeometry:
    generator = torch.Generator().manual_seed(1)
    status = torch.zeros(frames, dtype=torch.uint8)
    status[list(bad)] = int(FrameStatus.NO_FACE)
    shot = torch.zeros(frames, dtype=torch.int64)
    if cut is not None:
        shot[cut:] = 1
    return FaceGeometry(
        identity=torch.zeros(face_model.identity_count),
        expression=torch.randn(frames, face_model.expression_count, generator=generator),
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 2),
        scale=torch.ones(frames),
        status=status,
        shot=shot,
        source_frame=torch.arange(frames),
        times=torch.arange(frames) / 25.0,
        durations=torch.full((frames,), 0.04),
        frame_size=(256, 256),
        face_model=face_model.sha256,
    )


def test_lip_references_are_spread_over_the_sorted_openings(face_model):
    clip = geometry(face_model)
    chosen = select_references(clip, face_model, range(40), ReferenceOptions(lip_count=9)).lip
    opening = mouth_opening(canonical_vertices(clip, face_model), face_model)
    order = opening.argsort()
    assert torch.equal(chosen, order[torch.linspace(0, 39, 9).round().long()])
    assert chosen[0] == opening.argmin() and chosen[-1] == opening.argmax()


def test_lip_references_are_unique_and_fewer_when_the_clip_is_short(face_model):
    chosen = select_references(
        geometry(face_model, frames=10), face_model, range(10), ReferenceOptions(lip_count=25)
    ).lip
    assert sorted(chosen.tolist()) == list(range(10))


def test_face_references_are_the_nearest_frames_first():
    usable, shot = torch.arange(30), torch.zeros(30, dtype=torch.int64)
    assert nearest_frames(10, usable, shot, 5, 0).tolist() == [10, 9, 11, 8, 12]
    assert nearest_frames(0, usable, shot, 3, 0).tolist() == [0, 1, 2]
    assert nearest_frames(10, usable, shot, 4, 3).tolist() == [7, 13, 6, 14]


def test_face_references_stay_in_the_shot(face_model):
    clip = geometry(face_model, cut=20)
    chosen = select_references(clip, face_model, [19, 20]).face
    assert int(chosen[0].max()) < 20 <= int(chosen[1].min())


def test_with_an_exclude_window_the_most_similar_frames_are_taken(face_model):
    clip = geometry(face_model)
    clip.expression.zero_()
    clip.rotation[:, 1] = torch.linspace(0, 1, 40)
    clip.rotation[35] = clip.rotation[10]
    chosen = select_references(clip, face_model, [10], ReferenceOptions(face_count=3, exclude_window=8)).face[
        0
    ]
    assert chosen.tolist() == [35, 2, 18] or chosen.tolist() == [35, 18, 2]


def test_unusable_and_excluded_frames_are_never_chosen(face_model):
    clip = geometry(face_model, bad=(3, 4, 5))
    selection = select_references(clip, face_model, range(40), ReferenceOptions(lip_count=40, exclude=(7,)))
    for chosen in (selection.lip, selection.face):
        assert not set(chosen.flatten().tolist()) & {3, 4, 5, 7}


def test_pinned_frames_are_always_lip_references(face_model):
    clip = geometry(face_model)
    for pin in ((11,), (2, 30)):
        lip = select_references(clip, face_model, range(40), ReferenceOptions(lip_count=4, pin=pin)).lip
        assert set(pin) <= set(lip.tolist()) and len(lip) == 4


def test_the_same_source_frame_gets_the_same_references(face_model):
    face = select_references(geometry(face_model), face_model, [5, 9, 5]).face
    assert torch.equal(face[0], face[2]) and not torch.equal(face[0], face[1])


def test_excluded_lip_references_by_frame():
    allowed = allowed_references(torch.tensor([0, 10, 20]), torch.tensor([1, 10]), 5)
    assert allowed.tolist() == [[False, True, True], [True, False, True]]


def test_a_frame_without_allowed_lip_references_keeps_the_farthest():
    assert allowed_references(torch.tensor([4, 6]), torch.tensor([4]), 12).tolist() == [[False, True]]


def test_spread_takes_the_middle_when_one_is_asked_for():
    assert spread_by_opening(torch.tensor([0.0, 3.0, 1.0]), torch.arange(3), 1).tolist() == [2]


def test_training_references_keep_their_distance():
    options = ReferenceOptions(lip_count=50, face_count=50, exclude_window=12)
    lip, face = sample_references(40, 100, options, 10, torch.Generator().manual_seed(0))
    assert int((lip - 40).abs().min()) >= 12
    assert int((face - 40).abs().min()) >= 12 and int((face - 40).abs().max()) < 22


def test_impossible_choices_are_refused(face_model):
    with pytest.raises(OptionsError, match="exclude window"):
        select_references(
            geometry(face_model, frames=10), face_model, range(10), ReferenceOptions(exclude_window=20)
        )
    with pytest.raises(OptionsError, match="pinned and excluded"):
        ReferenceOptions(pin=(3,), exclude=(3,)).verify()
    with pytest.raises(FaceError):
        select_references(geometry(face_model, frames=4, bad=(0, 1, 2, 3)), face_model, range(4))
