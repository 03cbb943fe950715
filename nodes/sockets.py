"""The pack's own sockets, and two of ComfyUI's. What travels over them is frozen: ComfyUI hands the same
object to every receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_api.latest import io

if TYPE_CHECKING:
    from ..personatalk_core.types import FaceTrack, VideoInfo

CATEGORY = "PersonaTalk"

Models = io.Custom("PERSONATALK_MODELS")  # model_loading.ManagedModels
Track = io.Custom("PERSONATALK_TRACK")  # TrackedVideo
Geometry = io.Custom("PERSONATALK_GEOMETRY")  # personatalk_core.types.FaceGeometry
Style = io.Custom("PERSONATALK_STYLE")  # personatalk_core.types.StyleEmbedding
FaceLandmarks = io.Custom("FACE_LANDMARKS")  # ComfyUI's own: {"frames", "image_size", "connection_sets"}
FaceBoxes = io.Custom("BOUNDING_BOX")  # ComfyUI's own: a list of {"x", "y", "width", "height"} a frame
References = io.Custom("PERSONATALK_REFERENCES")  # personatalk_core.types.ReferenceSelection


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """A track and what is known of its video, so that no node after it needs the video for its timing."""

    info: VideoInfo
    track: FaceTrack
