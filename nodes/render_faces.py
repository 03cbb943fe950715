"""Render Faces."""

from __future__ import annotations

from comfy_api.latest import io

from .choices import option_input
from .dub_result import dub_ui, dubbed, dubbed_outputs
from .sockets import CATEGORY, Geometry, Models, References


class RenderFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkRenderFaces",
            display_name="Render Faces (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Renders the speaking face with the video's own pixels and pastes it back, frame by frame "
                "from file to file."
            ),
            search_aliases=["paste back", "face rendering", "neural rendering"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input(
                    "video", tooltip="The video the geometry was estimated from; another one is refused."
                ),
                Geometry.Input("geometry", tooltip="From Generate Lip-Synced Geometry or Edit Geometry."),
                References.Input(
                    "references",
                    optional=True,
                    tooltip=(
                        "From Select References. Not connected: chosen automatically with the two numbers "
                        "below."
                    ),
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound of the result. Not connected: the speech that the geometry was made from.",
                ),
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
    def execute(cls, models, video, geometry, references=None, audio=None, **choices) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import OutputFiles, Run
        from ..personatalk_core.dubbing.write_dub import write_dub
        from ..personatalk_core.media.video_reader import probe
        from ..personatalk_core.pipeline import render
        from .media_sockets import audio_path, temporary, video_path
        from .progress_bar import NodeProgress

        options = DubOptions(**choices).verify()
        source, out, mask = video_path(video), temporary(".mp4"), temporary(".mp4")
        sound, ready = audio_path(audio) if audio is not None else None, models.ready("renderer")
        with NodeProgress(cls.hidden.unique_id, "rendering") as progress:
            run = Run(ready, options, progress)
            frames = render(probe(source), geometry, run, references)
            report = write_dub(frames, OutputFiles(out, mask, resume=False), run, sound)
        return dubbed(out, mask, report, progress, dub_ui(source, out, geometry=geometry))
