"""The node pack: one node a file, each a schema and one call of the core. Imports nothing heavy."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .dub_images import DubImages
from .dub_video import DubVideo
from .edit_geometry import EditGeometry
from .estimate_geometry import EstimateGeometry
from .evaluate_dub import EvaluateDub
from .extract_style import ExtractStyle
from .generate_geometry import GenerateGeometry
from .load_models import LoadModels
from .load_style import LoadStyle
from .mix_styles import MixStyles
from .model_folders import register_folders
from .paste_back import PasteBack
from .preview_geometry import PreviewGeometry
from .render_faces import RenderFaces
from .save_style import SaveStyle
from .select_references import SelectReferences
from .style_map import StyleMap
from .track_face import TrackFace
from .video_to_mask import VideoToMask

NODES = [
    LoadModels,
    DubVideo,
    DubImages,
    TrackFace,
    EstimateGeometry,
    ExtractStyle,
    SaveStyle,
    LoadStyle,
    MixStyles,
    GenerateGeometry,
    EditGeometry,
    SelectReferences,
    RenderFaces,
    PasteBack,
    PreviewGeometry,
    StyleMap,
    EvaluateDub,
    VideoToMask,
]


class PersonaTalkExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folders()
        return NODES
