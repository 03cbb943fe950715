"""Mix Styles."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY, Style

SLOTS = "abcd"


class MixStyles(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        styles = [
            Style.Input(
                f"style_{slot}",
                optional=slot not in "ab",
                tooltip="A style to mix. All must come from the same speech weights.",
            )
            for slot in SLOTS
        ]
        weights = [
            io.Float.Input(
                f"weight_{slot}",
                default=0.5 if slot in "ab" else 0.0,
                min=0.0,
                max=1.0,
                step=0.01,
                display_mode=io.NumberDisplay.slider,
                tooltip=(
                    f"Share of style {slot} in the mix. Shares are scaled to sum to one; 0 leaves the "
                    "style out."
                ),
            )
            for slot in SLOTS
        ]
        name = io.String.Input("name", default="mix", tooltip="What the mixed style is called.")
        return io.Schema(
            node_id="PersonaTalkMixStyles",
            display_name="Mix Styles (PersonaTalk)",
            category=CATEGORY,
            description="Makes a speaking style between two to four others.",
            search_aliases=["blend styles", "interpolate styles"],
            inputs=[*styles, *weights, name],
            has_intermediate_output=True,
            outputs=[Style.Output(display_name="style", tooltip="The mixed style.")],
        )

    @classmethod
    def execute(cls, name: str, **slots) -> io.NodeOutput:
        from ..personatalk_core.speech.style import mix_styles
        from .style_card import style_ui

        connected = [slot for slot in SLOTS if slots.get(f"style_{slot}") is not None]
        styles = [slots[f"style_{s}"] for s in connected]
        return io.NodeOutput(
            mix_styles(styles, [slots[f"weight_{s}"] for s in connected], name), ui=style_ui(styles)
        )
