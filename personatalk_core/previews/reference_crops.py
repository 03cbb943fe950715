"""Face crops as pictures: the reference frames of a dub, and the thumbnail of a style card."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from ..compose.crop import crop_boxes, crop_image
from ..geometry.face_model import FaceModel
from ..media.video_reader import VideoReader
from ..types import FaceGeometry, OnProgress, VideoInfo

PICTURE_SIZE = 192  # pixels a side
THUMBNAIL_QUALITY = 88  # of JPEG, 0 to 100


def reference_crops(
    clip: VideoInfo,
    geometry: FaceGeometry,
    frames: Tensor,
    face_model: FaceModel,
    size: int = PICTURE_SIZE,
    on_progress: OnProgress | None = None,
) -> np.ndarray:
    """Face crops of frames of a video, in the given order.

    Args:
        clip:     the video.
        geometry: its own geometry, all frames.
        frames:   (N,) frame numbers.
    Returns:
        (N, size, size, 3) uint8.
    """
    boxes = crop_boxes(geometry, face_model)
    order = sorted(set(frames.tolist()))
    crops = {}
    for i, frame in zip(order, VideoReader(clip).frames(order), strict=True):
        crops[i] = crop_image(frame, boxes.box[i], size)
        if on_progress is not None:
            on_progress(len(crops), len(order))
    return np.stack([crops[i] for i in frames.tolist()])


def face_thumbnail(clip: VideoInfo, geometry: FaceGeometry, face_model: FaceModel, size: int = 128) -> bytes:
    """The face in the first usable frame of a video, for style cards.

    Args:
        clip:     the video.
        geometry: its own geometry, all frames.
        size:     pixels a side.
    Returns:
        JPEG bytes; empty when no frame is usable.
    """
    usable = geometry.usable.nonzero()[:, 0]
    if len(usable) == 0:
        return b""
    first = int(usable[0])
    frame = next(iter(VideoReader(clip).frames([first])))
    picture = crop_image(frame, crop_boxes(geometry, face_model).box[first], size)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])[1].tobytes()
