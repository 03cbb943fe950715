"""Extract Style."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY, Geometry, Models, Style


class ExtractStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkExtractStyle",
            display_name="Extract Style (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Learns how a person speaks (how far they open, round, press and smile) from one or more "
                "clips of them."
            ),
            search_aliases=["speaking style", "talking style", "persona"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                Geometry.Input(
                    "geometry",
                    tooltip=(
                        "A clip of the person, from Estimate Geometry. At least half a second; ten seconds "
                        "are steadier."
                    ),
                ),
                Geometry.Input(
                    "geometry_2",
                    optional=True,
                    tooltip="Another clip of the same person: makes the style steadier.",
                ),
                Geometry.Input("geometry_3", optional=True, tooltip="A third clip of the same person."),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip=(
                        "The clip of the first geometry: gives the style its picture. Changes nothing else."
                    ),
                ),
                io.String.Input(
                    "name",
                    default="my style",
                    tooltip="What the style is called on the style card, in the style map and in its file.",
                ),
            ],
            has_intermediate_output=True,
            outputs=[
                Style.Output(
                    display_name="style",
                    tooltip="To Generate Lip-Synced Geometry, Dub Video, Mix Styles or Save Style.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, models, geometry, name: str, geometry_2=None, geometry_3=None, video=None
    ) -> io.NodeOutput:
        from ..personatalk_core.dubbing.run import Run
        from ..personatalk_core.media.video_reader import probe
        from ..personatalk_core.pipeline import extract_style
        from ..personatalk_core.previews.reference_crops import face_thumbnail
        from .media_sockets import video_path
        from .style_card import style_ui

        clips = [clip for clip in (geometry, geometry_2, geometry_3) if clip is not None]
        picture = b""
        if video is not None:
            picture = face_thumbnail(probe(video_path(video)), geometry, models.models.face_model)
        style = extract_style(clips, Run(models.ready("speech")), name, picture)
        return io.NodeOutput(style, ui=style_ui([style]))
