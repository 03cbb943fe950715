"""Load Style."""

from __future__ import annotations

from comfy_api.latest import io

from .model_folders import style_choices, style_path
from .sockets import CATEGORY, Style


class LoadStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkLoadStyle",
            display_name="Load Style (PersonaTalk)",
            category=CATEGORY,
            description="Reads a style file from models/personatalk/styles.",
            search_aliases=["import style"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=style_choices(),
                    tooltip=(
                        "A file saved by Save Style or 'personatalk style'. A style works only with the "
                        "speech weights it was made with; with others the run stops and says so. Press R "
                        "to see new files."
                    ),
                ),
            ],
            has_intermediate_output=True,
            outputs=[
                Style.Output(
                    display_name="style", tooltip="To Generate Lip-Synced Geometry, Dub Video or Mix Styles."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        path = style_path(file)
        return f"{path.stat().st_mtime_ns}:{path.stat().st_size}" if path else ""

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..personatalk_core.errors import WeightsError
        from ..personatalk_core.speech.style_file import load_style
        from .style_card import style_ui

        path = style_path(file)
        if path is None:
            raise WeightsError(
                f"The style file '{file}' is not in models/personatalk/styles; copy it there or choose "
                "another."
            )
        style = load_style(path)
        return io.NodeOutput(style, ui=style_ui([style]))
