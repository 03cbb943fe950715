"""Style Map."""

from __future__ import annotations

from comfy_api.latest import io

from .sockets import CATEGORY, Style

SLOTS = "abcdefgh"


class StyleMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkStyleMap",
            display_name="Style Map (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Draws styles on a flat map: the nearer two are, the more alike they make a face speak."
            ),
            search_aliases=["compare styles", "style plot"],
            inputs=[
                Style.Input(
                    f"style_{slot}",
                    optional=slot != "a",
                    tooltip="A style to place on the map. All must come from the same speech weights.",
                )
                for slot in SLOTS
            ],
            outputs=[
                io.Image.Output(
                    display_name="map", tooltip="The map as a picture: to Preview Image or Save Image."
                )
            ],
        )

    @classmethod
    def execute(cls, **slots) -> io.NodeOutput:
        from ..personatalk_core.previews.style_map import draw_style_map
        from .picture_strip import as_image

        styles = [slots[f"style_{slot}"] for slot in SLOTS if slots.get(f"style_{slot}") is not None]
        return io.NodeOutput(as_image(draw_style_map(styles)[None]))
