"""Things before the mouth are found on drawn faces, and bare faces that talk, turn and change their light are
left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.compose.occlusion import (
    fit_skin,
    occlusion_mask,
    place_colours,
    skin_places,
    visible_vertices,
)
from personatalk_core.evaluation.speed.synthetic_clip import synthetic_clip
from personatalk_core.geometry.face_model import load_face_model

SIZE = 256
REFERENCES = 12


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


@pytest.fixture(scope="module")
def places(face_model):
    return skin_places(face_model)


@pytest.fixture(scope="module")
def drawn(face_model):
    """A head whose skin is a smooth pattern on the mesh: (T, 256, 256, 3) crops and (T, V, 2) points."""
    clip = synthetic_clip(face_model, 20, SIZE)
    colour = (0.55 + 0.12 * torch.sin(4 * face_model.mean)).clamp(0, 1)
    colour[torch.cat([face_model.lips, face_model.outer_lips])] = torch.tensor([0.7, 0.25, 0.25])
    pictures = []
    for points in clip.points:
        picture = np.full((SIZE, SIZE, 3), 0.3, np.float32)
        corners = np.rint(points[face_model.triangles][..., :2].numpy()).astype(np.int32)
        depth = points[face_model.triangles][..., 2].mean(dim=1)
        for k in depth.argsort().tolist():
            cv2.fillConvexPoly(picture, corners[k], colour[face_model.triangles[k]].mean(dim=0).tolist())
        pictures.append(picture)
    return np.stack(pictures), clip.points[..., :2].numpy()


@pytest.fixture(scope="module")
def skin(drawn, places):
    crops, points = drawn
    return fit_skin(
        places,
        np.stack(
            [
                place_colours(c, p, places)
                for c, p in zip(crops[:REFERENCES], points[:REFERENCES], strict=True)
            ]
        ),
    )


def mouth(points, face_model) -> np.ndarray:
    return points[face_model.outer_lips.numpy()].mean(axis=0)


def test_a_bare_face_is_never_covered(drawn, places, skin):
    crops, points = drawn
    for t in range(REFERENCES, len(crops)):
        # another exposure, too
        score = skin.occlusion_score(place_colours(crops[t] * 0.9 + 0.02, points[t], places))
        assert not occlusion_mask(score, points[t], places, SIZE).any()


@pytest.mark.parametrize(
    "colour", [(0.1, 0.1, 0.12), (0.95, 0.9, 0.85), (0.42, 0.28, 0.2)], ids=["microphone", "paper", "hand"]
)
def test_what_is_drawn_over_the_mouth_is_found(drawn, places, skin, face_model, colour):
    crops, points = drawn
    for t in range(REFERENCES, len(crops)):
        x, y = mouth(points[t], face_model)
        truth = (
            cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (int(x) + 4 * (t - 16), int(y) + 12), 24, 1, -1) > 0
        )
        covered = np.where(truth[..., None], np.float32(colour), crops[t])
        mask = occlusion_mask(
            skin.occlusion_score(place_colours(covered, points[t], places)), points[t], places, SIZE
        )
        face = cv2.fillConvexPoly(
            np.zeros((SIZE, SIZE), np.uint8),
            cv2.convexHull(np.rint(points[t][face_model.lips.numpy()]).astype(int)),
            1,
        )
        assert mask[truth & (face > 0)].mean() > 0.9
        assert mask[:90].max() == 0.0  # the upper half of the crop


def test_small_specks_are_not_things(drawn, places, skin, face_model):
    crops, points = drawn
    x, y = mouth(points[15], face_model)
    speck = cv2.circle(crops[15].copy(), (int(x) + 25, int(y) + 10), 3, (0, 0, 0), -1)
    assert not occlusion_mask(
        skin.occlusion_score(place_colours(speck, points[15], places)), points[15], places, SIZE
    ).any()


def test_a_covered_reference_does_not_show_what_lies_behind(drawn, places, skin, face_model):
    crops, points = drawn
    x, y = mouth(points[14], face_model)
    covered = cv2.circle(crops[14].copy(), (int(x), int(y)), 48, (0.05, 0.05, 0.05), -1)
    seen = visible_vertices(
        skin.occlusion_score(place_colours(covered, points[14], places)), places, face_model.vertex_count
    )
    assert seen[face_model.outer_lips.numpy()].mean() < 0.25
    bare = visible_vertices(
        skin.occlusion_score(place_colours(crops[14], points[14], places)), places, face_model.vertex_count
    )
    assert bare.min() > 0.99


def test_hidden_places_are_not_compared(drawn, places, skin):
    crops, points = drawn
    outside = points[15] + 200.0
    assert np.isnan(place_colours(crops[15], outside, places)).any()
    assert np.isfinite(skin.occlusion_score(place_colours(crops[15], outside, places))).all()
