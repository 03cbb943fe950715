"""A track on the sockets that ComfyUI's own face nodes read, for masks, crops and drawings by other packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..personatalk_core.geometry.face_model import FaceModel
    from ..personatalk_core.types import FaceTrack


def face_sockets(track: FaceTrack, face_model: FaceModel) -> tuple[dict, list[list[dict]]]:
    """FACE_LANDMARKS and BOUNDING_BOX of a track."""
    from ..personatalk_core.tracking.exchange import connection_sets, face_records

    frames = face_records(track, face_model.direction_names)
    boxes = [[_box(face) for face in frame] for frame in frames]
    return {"frames": frames, "image_size": track.frame_size, "connection_sets": connection_sets()}, boxes


def _box(face: dict) -> dict:
    left, top, right, bottom = face["bbox_xyxy"].tolist()
    return {
        "x": left,
        "y": top,
        "width": right - left,
        "height": bottom - top,
        "label": "face",
        "score": face["score"],
    }
