"""The baseline that generates nothing: each frame gets the lower face of the source frame whose mouth is
nearest to the one wanted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ...compose.crop import LANCZOS, crop_boxes, crop_image, crop_points
from ...compose.masks import lower_face_mask, passthrough_weight
from ...compose.paste_back import paste_back
from ...dubbing.frame_renderer import crop_size
from ...errors import OptionsError
from ...geometry.face_model import FaceModel
from ...geometry.vertices import posed_vertices
from ...media.audio_stream import fit_audio
from ...media.video_reader import VideoReader
from ...media.video_writer import VideoWriter
from ...rendering.references import usable_frames
from ...rendering.similarity import LIP_SHARPNESS, head_pose, mouth_shape
from ...types import AudioClip, FaceGeometry, VideoInfo


def nearest_mouths(
    target: FaceGeometry, source: FaceGeometry, face_model: FaceModel, exclude_window: int
) -> Tensor:
    """The source frame nearest in mouth shape and head pose to each target frame, weighed as Lip-Attention
    does: (T,) int64.

    Frames nearer than ``exclude_window`` to the one shown are left out. Raises OptionsError when that leaves
    none.
    """
    by_shape, by_pose = LIP_SHARPNESS
    descriptors = [
        torch.cat(
            [
                by_shape**0.5 * mouth_shape(g.expression, face_model),
                by_pose**0.5 * head_pose(posed_vertices(g, face_model), face_model),
            ],
            1,
        )
        for g in (target, source)
    ]
    usable = usable_frames(source)
    distance = torch.cdist(descriptors[0], descriptors[1][usable])  # (T, M)
    too_near = (target.source_frame[:, None] - usable[None]).abs() < exclude_window
    if bool(too_near.all(dim=1).any()):
        raise OptionsError(f"no usable frame is {exclude_window} or more frames away; use a longer clip.")
    return usable[distance.masked_fill(too_near, torch.inf).argmin(dim=1)]


def paste_nearest_mouths(
    info: VideoInfo,
    source: FaceGeometry,
    target: FaceGeometry,
    chosen: Tensor,
    audio: AudioClip,
    out: Path,
    face_model: FaceModel,
) -> None:
    """Write the video: the chosen frames' faces, moved by a similarity onto the shown head, under the mask of
    a dub.

    Args:
        source: of the video, T_s frames.  target: T frames.  chosen: (T,) source frames.
    """
    boxes = crop_boxes(source, face_model)
    size = crop_size(boxes, source)
    points = crop_points(posed_vertices(source, face_model), boxes, size)
    rigid = torch.ones(face_model.vertex_count, dtype=torch.bool)
    rigid[face_model.lower_vertices] = False
    timeline = target.timeline
    weight = passthrough_weight(target.status.numpy(), timeline.times, target.shot.numpy())
    usable = target.usable & source.usable[target.source_frame]
    shown_frames = VideoReader(info).frames(target.source_frame.tolist())
    reference_frames = VideoReader(info).frames(chosen.tolist())
    with VideoWriter(
        out, info.width, info.height, timeline, audio=fit_audio(audio, timeline.duration), like=info
    ) as video:
        for t, (frame, reference) in enumerate(zip(shown_frames, reference_frames, strict=True)):
            shown, other = int(target.source_frame[t]), int(chosen[t])
            if bool(usable[t]):
                crop = crop_image(reference, boxes.box[other], size, LANCZOS)
                transform = similarity(points[other][rigid, :2].numpy(), points[shown][rigid, :2].numpy())
                moved = cv2.warpAffine(
                    crop, transform, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
                )
                warped_points = points[other].clone()
                warped_points[:, :2] = (
                    points[other][:, :2] @ torch.from_numpy(transform[:, :2].T).float()
                    + torch.from_numpy(transform[:, 2]).float()
                )
                mask = lower_face_mask(points[shown], warped_points, face_model, size)
                pixels = torch.from_numpy(moved).permute(2, 0, 1).float() / 255
                frame, _ = paste_back(frame, pixels, mask, boxes.box[shown], weight=float(weight[t]))
            video.write(frame)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift that carry points (K, 2) onto others with the least squared distance: (2, 3)
    float64."""
    a, b = source - source.mean(0), target - target.mean(0)
    z = (b[:, 0] + 1j * b[:, 1]) @ (a[:, 0] - 1j * a[:, 1]) / max(np.square(a).sum(), 1e-12)
    turn = np.array([[z.real, -z.imag], [z.imag, z.real]])
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], axis=1)
