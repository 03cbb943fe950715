"""Dub Video: all stages in one node."""

from __future__ import annotations

from comfy_api.latest import io

from .choices import check_face, option_input
from .dub_result import dub_ui, dubbed, dubbed_outputs
from .sockets import CATEGORY, Models, Style

STAGES = ("tracking", "geometry", "speech to geometry", "rendering")


class DubVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkDubVideo",
            display_name="Dub Video (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Makes the person in the video speak new words, with their own face and way of speaking. "
                "Everything but the mouth region stays."
            ),
            search_aliases=[
                "lip sync",
                "lipsync",
                "dubbing",
                "talking head",
                "wav2lip",
                "latentsync",
                "musetalk",
            ],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input(
                    "video",
                    tooltip=(
                        "A video of a talking person who agreed to this. Size, frame rate and duration of "
                        "the frames stay as they are."
                    ),
                ),
                io.Audio.Input(
                    "audio",
                    tooltip=(
                        "The new speech, in any language. Music and noise move the mouth too: use a clean "
                        "voice."
                    ),
                ),
                Style.Input(
                    "style",
                    optional=True,
                    tooltip="How to speak. Not connected: the way the person speaks in the video.",
                ),
                option_input("length"),
                option_input("style_strength"),
                option_input("face"),
                option_input("lip_references"),
                option_input("face_references"),
                option_input("lossless"),
                option_input("provenance"),
            ],
            outputs=dubbed_outputs(),
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, face: str | None = None) -> bool | str:
        return check_face(face)

    @classmethod
    def execute(cls, models, video, audio, style=None, **choices) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import OutputFiles
        from ..personatalk_core.pipeline import dub
        from .media_sockets import audio_path, temporary, video_path
        from .progress_bar import NodeProgress
        from .style_card import style_ui

        options = DubOptions(**choices).verify()
        source, out, mask = video_path(video), temporary(".mp4"), temporary(".mp4")
        speech, ready = audio_path(audio), models.ready("speech", "renderer")
        with NodeProgress(cls.hidden.unique_id, *STAGES) as progress:
            files = OutputFiles(out, mask, resume=False)
            report = dub(source, speech, files, ready, options, style=style, progress=progress)
        ui = dub_ui(source, out, length=options.length) | style_ui([style] if style is not None else [])
        return dubbed(out, mask, report, progress, ui)
