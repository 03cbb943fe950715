"""The paper's initialiser on a video: crops of the tracked face through the coefficient network (3.1, Deng et
al. 2019b)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..compose.crop import crop_image
from ..geometry.coefficient_network import (
    CROP,
    CoefficientNetwork,
    alignment_boxes,
    read_coefficients,
    starting_coefficients,
)
from ..geometry.face_model import FaceModel
from ..geometry.fitting import interpolate_gaps, observed_frames
from ..geometry.initialisation import Coefficients
from ..media.video_reader import VideoReader
from ..types import FaceTrack, OnProgress, VideoInfo, as_tensor


def network_start(
    info: VideoInfo,
    track: FaceTrack,
    network: CoefficientNetwork,
    face_model: FaceModel,
    on_progress: OnProgress | None = None,
) -> Coefficients:
    """C^init of paper 3.1 for every frame of a track; the video is read once more.

    Frames without a usable face are bridged as in the fitting.
    Raises:
        FaceError: no frame has a face.  MediaError: the video cannot be read.
    """
    observed = observed_frames(track)
    frames = observed.nonzero()[:, 0].tolist()
    landmarks = as_tensor(track.landmarks)[observed]
    boxes = alignment_boxes(landmarks)

    def crops() -> Iterator[np.ndarray]:
        for number, (frame, box) in enumerate(zip(VideoReader(info).frames(frames), boxes, strict=True)):
            yield crop_image(frame, box, CROP)
            if on_progress is not None:
                on_progress(number + 1, len(frames))

    found = read_coefficients(network, crops(), next(network.parameters()).device)
    start = starting_coefficients(found, landmarks[:, face_model.landmark_id], face_model)
    return interpolate_gaps(start, observed, as_tensor(track.shot, torch.int64))
