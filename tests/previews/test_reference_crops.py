"""Face crops of chosen frames, and the thumbnail of a style card."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from personatalk_core.previews.reference_crops import face_thumbnail, reference_crops
from personatalk_core.types import FrameStatus


def test_crops_come_in_the_order_asked_for(clip, geometry, face_model):
    crops = reference_crops(clip, geometry, torch.tensor([30, 4, 30]), face_model, size=48)
    assert crops.shape == (3, 48, 48, 3)
    assert np.array_equal(crops[0], crops[2])
    assert not np.array_equal(crops[0], crops[1])
    assert np.array_equal(
        crops[1], reference_crops(clip, geometry, torch.tensor([4]), face_model, size=48)[0]
    )


def test_a_thumbnail_is_the_first_usable_face(clip, geometry, face_model):
    status = geometry.status.clone()
    status[:4] = int(FrameStatus.NO_FACE)
    picture = face_thumbnail(clip, replace(geometry, status=status), face_model, size=128)
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
    crop = reference_crops(clip, geometry, torch.tensor([4]), face_model, size=128)[0]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    assert decoded.shape == (128, 128)
    assert np.abs(decoded - grey).mean() < 3  # what JPEG loses


def test_no_thumbnail_of_a_clip_without_a_usable_face(clip, geometry, face_model):
    status = torch.full_like(geometry.status, int(FrameStatus.SIDE))
    assert face_thumbnail(clip, replace(geometry, status=status), face_model) == b""
