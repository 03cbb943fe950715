"""Select References."""

from __future__ import annotations

from comfy_api.latest import io

from .choices import option_input
from .sockets import CATEGORY, Geometry, Models, References

FRAMES_HELP = "Frame numbers from 0, such as 12, 40-55."


class SelectReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkSelectReferences",
            display_name="Select References (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Chooses the frames whose pixels the new mouth and skin are made of, and shows them from "
                "closed to wide open."
            ),
            search_aliases=["reference frames", "teeth", "lip references"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input("video", tooltip="The video the geometry was estimated from."),
                Geometry.Input("geometry", tooltip="The lip-synced geometry that is going to be rendered."),
                option_input("lip_references"),
                option_input("face_references"),
                io.String.Input(
                    "exclude",
                    default="",
                    tooltip=(
                        "Frames never used, for instance blurred ones or a hand over the mouth. "
                        f"{FRAMES_HELP}"
                    ),
                ),
                io.String.Input(
                    "pin",
                    default="",
                    tooltip=(
                        f"Frames always used for the mouth, for instance one with clear teeth. {FRAMES_HELP}"
                    ),
                ),
            ],
            outputs=[
                References.Output(display_name="references", tooltip="To Render Faces."),
                io.Image.Output(
                    display_name="lip_frames",
                    tooltip="The mouth's reference frames, from closed to wide open.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, exclude: str | None = None, pin: str | None = None) -> bool | str:
        from ..personatalk_core.errors import OptionsError
        from ..personatalk_core.rendering.frame_list import parse_frames

        try:
            for text in (exclude, pin):
                parse_frames(text or "")
        except OptionsError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, models, video, geometry, lip_references: int, face_references: int, exclude: str, pin: str
    ) -> io.NodeOutput:
        from ..personatalk_core.media.video_reader import probe
        from ..personatalk_core.previews.reference_crops import reference_crops
        from ..personatalk_core.rendering.frame_list import parse_frames
        from ..personatalk_core.rendering.references import ReferenceOptions, select_references
        from .media_sockets import video_path
        from .picture_strip import as_image, strip_ui
        from .progress_bar import NodeProgress

        options = ReferenceOptions(
            lip_references, face_references, exclude=parse_frames(exclude), pin=parse_frames(pin)
        ).verify()
        source, face_model = geometry.reference or geometry, models.models.face_model
        with NodeProgress(cls.hidden.unique_id, "reading") as progress:
            chosen = select_references(source, face_model, geometry.source_frame, options)
            read = progress.stage("reading")
            crops = reference_crops(
                probe(video_path(video)), source, chosen.lip, face_model, on_progress=read
            )
        return io.NodeOutput(chosen, as_image(crops), ui=strip_ui(crops, chosen.lip.tolist(), options))
