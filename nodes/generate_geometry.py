"""Generate Lip-Synced Geometry."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from .choices import option_input
from .sockets import CATEGORY, Geometry, Models, Style


class GenerateGeometry(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkGenerateGeometry",
            display_name="Generate Lip-Synced Geometry (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Makes the face of the video speak the words of the sound, in its own or another person's "
                "style. Head and upper face stay."
            ),
            search_aliases=["audio to face", "speech to geometry", "lip sync"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                Geometry.Input("geometry", tooltip="The video's own geometry, from Estimate Geometry."),
                io.Audio.Input(
                    "audio", tooltip="The new speech. Music and noise move the mouth too: use a clean voice."
                ),
                Style.Input(
                    "style",
                    optional=True,
                    tooltip="How to speak. Not connected: the way the person speaks in the video.",
                ),
                option_input("style_strength"),
                option_input("length"),
            ],
            outputs=[
                Geometry.Output(
                    display_name="geometry",
                    tooltip=(
                        "The speaking geometry: to Edit Geometry, Select References, Render Faces, Preview "
                        "Geometry."
                    ),
                )
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, models, geometry, audio, style=None, **choices) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import Run
        from ..personatalk_core.pipeline import animate
        from .media_sockets import audio_path
        from .progress_bar import NodeProgress
        from .style_card import style_ui

        options = DubOptions(**choices).verify()
        speech, ready = audio_path(audio), models.ready("speech")
        with NodeProgress(cls.hidden.unique_id, "speech to geometry") as progress:
            target = animate(geometry, speech, Run(ready, options, progress), style)
        for text in progress.warnings:
            logging.getLogger(__name__).warning("PersonaTalk: %s", text)
        return io.NodeOutput(target, ui=style_ui([style] if style is not None else []))
