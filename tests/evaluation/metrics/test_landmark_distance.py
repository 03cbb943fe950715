from __future__ import annotations

import pytest
import torch

from personatalk_core.evaluation.metrics.landmark_distance import landmark_distance, lip_landmarks


def test_head_motion_does_not_count_and_shape_does(clip, face_model):
    lips = lip_landmarks(clip.points, face_model)
    assert lips.shape == (30, len(face_model.outer_lips) + len(face_model.inner_lips), 2)
    moved = lips + torch.tensor([5.0, -3.0])
    assert float(landmark_distance(moved, lips).max()) < 1e-4


def test_one_landmark_of_four_moved_by_four_pixels():
    square = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]]])
    other = square.clone()
    other[0, 0, 0] -= 4.0  # the centre moves by 1, so three landmarks are off by 1 and one by 3
    assert float(landmark_distance(other, square)[0]) == pytest.approx((3 * 1.0 + 3.0) / 4)
