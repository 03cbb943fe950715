"""Dub Images: the same for graphs that carry frames as IMAGE."""

from __future__ import annotations

from comfy_api.latest import io

from .choices import check_face, option_input
from .dub_video import STAGES
from .sockets import CATEGORY, Models, Style


class DubImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkDubImages",
            display_name="Dub Images (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Dub Video for IMAGE batches. All frames are in memory at once, about 11 MB each at 720p: "
                "for longer clips use Dub Video."
            ),
            search_aliases=["lip sync images", "VideoHelperSuite lip sync"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Image.Input("images", tooltip="The frames, in order."),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip=(
                        "Frames a second of the images. A wrong number makes the mouth drift away from the "
                        "sound."
                    ),
                ),
                io.Audio.Input("audio", tooltip="The new speech."),
                Style.Input(
                    "style",
                    optional=True,
                    tooltip="How to speak. Not connected: the way the person speaks in the images.",
                ),
                option_input("length"),
                option_input("style_strength"),
                option_input("face"),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The dubbed frames; there may be more or fewer than came in, as length says.",
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="What was changed in each frame: 0 untouched, 1 replaced."
                ),
                io.Audio.Output(display_name="audio", tooltip="The sound that came in, unchanged."),
                io.Float.Output(display_name="fps", tooltip="Frames a second of the result."),
                io.String.Output(display_name="report", tooltip="What happened to each frame, as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, face: str | None = None) -> bool | str:
        return check_face(face)

    @classmethod
    def execute(cls, models, images, fps: float, audio, style=None, **choices) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import OutputFiles
        from ..personatalk_core.pipeline import dub
        from .dub_result import report_text
        from .media_sockets import audio_path, images_path, temporary, video_images, video_mask
        from .progress_bar import NodeProgress

        options = DubOptions(**choices, lossless=True).verify()
        out, mask = temporary(".mp4"), temporary(".mp4")
        speech, ready = audio_path(audio), models.ready("speech", "renderer")
        try:
            with NodeProgress(cls.hidden.unique_id, *STAGES) as progress:
                source = images_path(images, fps, progress)
                report = dub(
                    source,
                    speech,
                    OutputFiles(out, mask, resume=False),
                    ready,
                    options,
                    style=style,
                    progress=progress,
                )
                return io.NodeOutput(
                    video_images(out, progress),
                    video_mask(mask, progress),
                    audio,
                    fps,
                    report_text(report, progress),
                )
        finally:
            out.unlink(missing_ok=True)
            mask.unlink(missing_ok=True)
