"""Preview Geometry."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io

from .sockets import CATEGORY, Geometry, Models


class PreviewGeometry(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkPreviewGeometry",
            display_name="Preview Geometry (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Shows the 3D face: over the video as a mesh or as its coordinate map (PNCC), and as a "
                "model to turn on the node."
            ),
            search_aliases=["pncc", "face mesh", "show geometry"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input("video", tooltip="The video the geometry was estimated from."),
                Geometry.Input("geometry", tooltip="Estimated, generated or edited geometry."),
                io.Combo.Input(
                    "drawing",
                    options=["mesh", "pncc"],
                    default="mesh",
                    tooltip=(
                        "mesh: triangle edges over the picture, shows how well the face is met. pncc: what "
                        "the renderer sees, each point of the face in its own colour."
                    ),
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video", tooltip="The video with the drawing over the face: to Save Video."
                )
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, models, video, geometry, drawing: str) -> io.NodeOutput:
        from ..personatalk_core.media.video_reader import probe
        from ..personatalk_core.previews.mesh_overlay import write_preview
        from .dub_result import geometry_ui
        from .media_sockets import temporary, video_path
        from .progress_bar import NodeProgress

        out, face_model = temporary(".mp4"), models.models.face_model
        with NodeProgress(cls.hidden.unique_id, "preview") as progress:
            write_preview(
                probe(video_path(video)),
                geometry,
                face_model,
                out,
                drawing=drawing,
                on_progress=progress.stage("preview"),
            )
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), ui=geometry_ui(geometry, face_model, out))
