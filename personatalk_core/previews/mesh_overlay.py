"""A video with the fitted mesh, or its coordinate map, drawn over the face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange

from ..errors import OptionsError
from ..geometry.face_model import FaceModel, Region
from ..geometry.pncc import draw_pncc
from ..geometry.vertices import posed_vertices
from ..media.video_reader import VideoReader
from ..media.video_writer import VideoWriter
from ..types import FaceGeometry, FrameStatus, OnProgress, VideoInfo

COLOURS = {
    int(Region.FACE): (90, 220, 255),
    int(Region.EYE): (120, 255, 120),
    int(Region.MOUTH_CAVITY): (255, 110, 110),
}
LABEL_COLOUR = (255, 60, 60)
_SUBPIXEL = 4  # cv2's fixed-point bits
DRAWINGS = ("mesh", "pncc")


def draw_mesh(frame: np.ndarray, points: torch.Tensor, face_model: FaceModel) -> np.ndarray:
    """Draw triangle edges on a copy of a frame.

    Args:
        frame:  (H, W, 3) uint8 RGB.
        points: (V, 3) image pixels.
    Returns:
        (H, W, 3) uint8.
    """
    overlay = frame.copy()
    corners = np.round((points[:, :2].numpy() - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)  # (V, 2)
    for region, colour in COLOURS.items():
        triangles = face_model.triangles[face_model.region == region].numpy()
        cv2.polylines(overlay, list(corners[triangles]), True, colour, 1, cv2.LINE_AA, _SUBPIXEL)
    return overlay


def draw_coordinates(frame: np.ndarray, points: torch.Tensor, face_model: FaceModel) -> np.ndarray:
    """Lay the face's coordinate map (paper 3.1, PNCC) over a copy of a frame; arguments as of
    :func:`draw_mesh`."""
    pncc = draw_pncc(points[None], face_model, frame.shape[:2])
    colours = rearrange(pncc.map[0], "c h w -> h w c").mul(255).byte().numpy()
    return np.where((pncc.triangle[0] >= 0).numpy()[..., None], colours, frame)


def write_preview(
    clip: VideoInfo,
    geometry: FaceGeometry,
    face_model: FaceModel,
    out: Path,
    *,
    drawing: str = "mesh",
    on_progress: OnProgress | None = None,
) -> None:
    """Write the video with the face drawn over it; a frame without a usable face names its status instead.

    Args:
        clip:     the video the geometry belongs to.
        geometry: T frames; ``source_frame`` says which frame of the video each is drawn over.
        out:      video file to write.
        drawing:  ``mesh`` or ``pncc``.
    Raises:
        OptionsError: another drawing.
    """
    if drawing not in DRAWINGS:
        raise OptionsError(f"drawing is '{drawing}' but expected one of {', '.join(DRAWINGS)}.")
    draw = draw_mesh if drawing == "mesh" else draw_coordinates
    timeline = geometry.timeline
    with VideoWriter(out, clip.width, clip.height, timeline) as writer:
        for index, frame in enumerate(VideoReader(clip).frames(geometry.source_frame.tolist())):
            status = FrameStatus(int(geometry.status[index]))
            if status == FrameStatus.OK:
                frame = draw(frame, posed_vertices(geometry[[index]], face_model)[0], face_model)
            else:
                frame = _label(frame, status.name.lower())
            writer.write(frame)
            if on_progress:
                on_progress(index + 1, geometry.frame_count)


def _label(frame: np.ndarray, text: str) -> np.ndarray:
    return cv2.putText(
        frame.copy(), text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, LABEL_COLOUR, 2, cv2.LINE_AA
    )
