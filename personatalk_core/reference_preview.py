"""Reference frames as pictures, to see which ones lend the mouth its pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .geometry.face_model import FaceModel
from .media.video_reader import VideoReader
from .tracking.crop import crop_boxes, crop_image
from .types import FaceGeometry, VideoInfo

PICTURE_SIZE = 192


def reference_crops(info: VideoInfo, geometry: FaceGeometry, frames: Tensor, face_model: FaceModel, size: int = PICTURE_SIZE) -> np.ndarray:
    """Face crops of frames of a video, in the given order.

    Args:
        info:     the video.
        geometry: its own geometry, all frames.
        frames:   (N,) frame numbers.
    Returns:
        (N, size, size, 3) uint8.
    """
    boxes = crop_boxes(geometry, face_model)
    order = sorted(set(frames.tolist()))
    crops = {i: crop_image(frame, boxes.box[i], size) for i, frame in zip(order, VideoReader(info).frames(order), strict=True)}
    return np.stack([crops[i] for i in frames.tolist()])
