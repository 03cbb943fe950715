"""Evaluate Dub."""

from __future__ import annotations

import json

from comfy_api.latest import io

from .choices import check_face, option_input
from .sockets import CATEGORY, Models


class EvaluateDub(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkEvaluateDub",
            display_name="Evaluate Dub (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Measures a dubbed video of any maker: lip sync, sharpness, seam, flicker, identity; "
                "beside the source's own numbers."
            ),
            search_aliases=["metrics", "lip sync score", "quality"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input(
                    "source",
                    tooltip=(
                        "The video that was dubbed. Where it has sound of its own, its numbers stand "
                        "beside the dub's."
                    ),
                ),
                io.Video.Input(
                    "dubbed", tooltip="The dubbed video, from this pack or any other, of the same size."
                ),
                io.Audio.Input("audio", tooltip="The speech it was dubbed with."),
                option_input("length"),
                option_input("face"),
                io.Int.Input(
                    "most_frames",
                    default=0,
                    min=0,
                    max=100000,
                    step=1,
                    advanced=True,
                    tooltip=(
                        "Compare the pixels of this many frames at most; 0 compares all. Motion and sound "
                        "are always compared whole."
                    ),
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="table", tooltip="The numbers and what each says, as Markdown."
                ),
                io.String.Output(
                    display_name="scores", tooltip="The same and the curves over time, as JSON."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, face: str | None = None) -> bool | str:
        return check_face(face)

    @classmethod
    def execute(cls, models, source, dubbed, audio, most_frames: int = 0, **choices) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import Run
        from ..personatalk_core.evaluation.metrics.dub_comparison import compare_with_source, score_table
        from .media_sockets import audio_path, video_path
        from .progress_bar import NodeProgress

        options = DubOptions(**choices).verify()
        output, reference, speech, ready = (
            video_path(dubbed),
            video_path(source),
            audio_path(audio),
            models.ready("speech"),
        )
        with NodeProgress(cls.hidden.unique_id, "tracking", "geometry", "comparing") as progress:
            run = Run(ready, options, progress)
            rows = compare_with_source(output, reference, speech, run, most_frames=most_frames or None)
        return io.NodeOutput(score_table(rows), json.dumps(rows))
