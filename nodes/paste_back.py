"""Paste Back."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io

from .choices import option_input
from .sockets import CATEGORY, Geometry


class PasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkPasteBack",
            display_name="Paste Back (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Lays rendered faces over another version of the video, such as a graded one. Render Faces "
                "pastes over the source already."
            ),
            search_aliases=["composite", "blend face", "mask blend"],
            inputs=[
                io.Video.Input(
                    "video",
                    tooltip=(
                        "The video under the faces: the source or another version of it, of the same size "
                        "and frames."
                    ),
                ),
                io.Video.Input(
                    "rendered",
                    tooltip="The video output of Render Faces; the sound of the result is its sound.",
                ),
                io.Video.Input(
                    "mask",
                    tooltip=(
                        "The mask output of the same Render Faces. You may edit it in between, for "
                        "instance to keep a beard."
                    ),
                ),
                Geometry.Input(
                    "geometry",
                    tooltip=(
                        "The geometry that was rendered: says which frame of the video each rendered frame "
                        "lies over."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "How much of the rendered face shows: 1 all, 0 gives the video untouched. Between, "
                        "the old mouth shines through."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip=(
                        "Pixels over which the edge fades inwards. Hides a seam after grading; too much "
                        "lets the old lips show."
                    ),
                ),
                option_input("lossless"),
                option_input("provenance"),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The composed video: to Save Video.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, video, rendered, mask, geometry, strength: float, feather: float, **choices
    ) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.blend_video import blend_videos
        from ..personatalk_core.media.video_reader import probe
        from .media_sockets import temporary, video_path
        from .progress_bar import NodeProgress

        out = temporary(".mp4")
        under, over, changed = (probe(video_path(one)) for one in (video, rendered, mask))
        options = DubOptions(**choices).verify()
        with NodeProgress(cls.hidden.unique_id, "pasting") as progress:
            pasted = progress.stage("pasting")
            blend_videos(
                under,
                over,
                changed,
                geometry,
                out,
                options,
                strength=strength,
                feather=feather,
                on_progress=pasted,
            )
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)))
