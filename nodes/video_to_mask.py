"""Video to Mask."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY


class VideoToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkVideoToMask",
            display_name="Video to Mask (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Reads the mask video of Render Faces or Dub Video as a MASK, for nodes that take one."
            ),
            search_aliases=["mask video", "load mask"],
            inputs=[
                io.Video.Input(
                    "video",
                    tooltip=(
                        "The mask output of Render Faces or Dub Video. All its frames come into memory, "
                        "about 4 MB each at 720p."
                    ),
                )
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="What was changed in each frame: 0 untouched, 1 replaced."
                )
            ],
        )

    @classmethod
    def execute(cls, video) -> io.NodeOutput:
        from .media_sockets import video_mask, video_path
        from .progress_bar import NodeProgress

        with NodeProgress(cls.hidden.unique_id, "reading") as progress:
            return io.NodeOutput(video_mask(video_path(video), progress))
