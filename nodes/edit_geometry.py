"""Edit Geometry."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY, Geometry, Models

DIRECTIONS = (
    "none",
    "jawOpen",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthPucker",
    "mouthFunnel",
    "mouthClose",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthFrownLeft",
    "mouthFrownRight",
)


class EditGeometry(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkEditGeometry",
            display_name="Edit Geometry (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Changes how the mouth moves before it is rendered: further, calmer, earlier, faster, or "
                "with an expression added."
            ),
            search_aliases=["smooth geometry", "mouth gain", "retime"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                Geometry.Input("geometry", tooltip="From Generate Lip-Synced Geometry."),
                io.Float.Input(
                    "mouth_gain",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip=(
                        "How far the mouth moves: 0 keeps it still, 1 as generated, 2 twice as far. Above "
                        "1.3 lips may no longer meet on p, b and m."
                    ),
                ),
                io.Float.Input(
                    "smoothing",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "Seconds over which the mouth's movement is averaged. 0.04 removes jitter; 0.1 and "
                        "more mumbles."
                    ),
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    tooltip=(
                        "Seconds by which the mouth comes later (negative: earlier). Corrects sound that "
                        "is out of step."
                    ),
                ),
                io.Float.Input(
                    "speed",
                    default=1.0,
                    min=0.25,
                    max=4.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "Plays picture and mouth faster (2) or slower (0.5) at the same frame rate. Other "
                        "than 1 the old sound no longer fits: connect matching audio to Render Faces, or "
                        "the result is silent."
                    ),
                ),
                io.Combo.Input(
                    "add",
                    options=list(DIRECTIONS),
                    default="none",
                    advanced=True,
                    tooltip="An expression added to every frame, by its ARKit name. none adds nothing.",
                ),
                io.Float.Input(
                    "amount",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip=(
                        "How much of it: 1 the full expression, negative the opposite. 0.1 to 0.3 look "
                        "natural."
                    ),
                ),
                io.Float.Input(
                    "upper_gain",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How far brows and lids move in the geometry. Only the mouth region is rendered, "
                        "so this shows in previews, not in the video."
                    ),
                ),
            ],
            outputs=[
                Geometry.Output(
                    display_name="geometry",
                    tooltip="The changed geometry; the one that came in stays as it was.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        models,
        geometry,
        mouth_gain: float,
        smoothing: float,
        shift: float,
        add: str = "none",
        amount: float = 0.0,
        upper_gain: float = 1.0,
        speed: float = 1.0,
    ) -> io.NodeOutput:
        from ..personatalk_core.geometry.editing import GeometryEdit, edit_geometry, geometry_at_speed

        added = {add: amount} if add != "none" and amount else {}
        edit = GeometryEdit(
            lower_gain=mouth_gain, upper_gain=upper_gain, smoothing=smoothing, shift=shift, add=added
        )
        return io.NodeOutput(
            geometry_at_speed(edit_geometry(geometry, models.models.face_model, edit), speed)
        )
