"""Estimate Geometry."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY, Geometry, Models, Track


class EstimateGeometry(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkEstimateGeometry",
            display_name="Estimate Geometry (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Fits the 3D face to the whole clip: one shape, and an expression and a pose for every "
                "frame, smooth in time."
            ),
            search_aliases=["3dmm", "face fitting", "face mesh"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                Track.Input("track", tooltip="From Track Face."),
            ],
            outputs=[
                Geometry.Output(
                    display_name="geometry",
                    tooltip=(
                        "How the face in the video moves: to Extract Style and Generate Lip-Synced Geometry."
                    ),
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, models, track) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import Run
        from ..personatalk_core.pipeline import fit
        from .progress_bar import NodeProgress

        with NodeProgress(cls.hidden.unique_id, "geometry") as progress:
            run = Run(models.models, DubOptions(), progress)
            return io.NodeOutput(fit(track.info, track.track, run))
