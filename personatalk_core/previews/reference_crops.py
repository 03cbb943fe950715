"""Reference frames as pictures, to see which ones lend the mouth its pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..compose.crop import crop_boxes, crop_image
from ..geometry.face_model import FaceModel
from ..media.video_reader import VideoReader
from ..types import FaceGeometry, OnProgress, VideoInfo

PICTURE_SIZE = 192


def reference_crops(
    info: VideoInfo,
    geometry: FaceGeometry,
    frames: Tensor,
    face_model: FaceModel,
    size: int = PICTURE_SIZE,
    on_progress: OnProgress | None = None,
) -> np.ndarray:
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
    crops = {}
    for i, frame in zip(order, VideoReader(info).frames(order), strict=True):
        crops[i] = crop_image(frame, boxes.box[i], size)
        if on_progress is not None:
            on_progress(len(crops), len(order))
    return np.stack([crops[i] for i in frames.tolist()])
