"""Save Style."""

from __future__ import annotations

from comfy_api.latest import io, ui

from .model_folders import new_style_path
from .sockets import CATEGORY, Style


class SaveStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkSaveStyle",
            display_name="Save Style (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Writes a style to models/personatalk/styles as a small file that can be shared and loaded "
                "again."
            ),
            search_aliases=["export style"],
            inputs=[
                Style.Input("style", tooltip="From Extract Style or Mix Styles."),
                io.String.Input(
                    "file_name",
                    default="my_style",
                    tooltip=(
                        "Name of the file, letters, digits, spaces, dots, dashes and underscores. A style "
                        "of the same name is replaced."
                    ),
                ),
            ],
            outputs=[
                Style.Output(
                    display_name="style", tooltip="The same style, so that saving can sit on the wire."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, file_name: str | None = None) -> bool | str:
        from ..personatalk_core.errors import OptionsError

        try:
            new_style_path(file_name if file_name is not None else "linked")
        except OptionsError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, style, file_name: str) -> io.NodeOutput:
        from ..personatalk_core.speech.style_file import save_style

        path = new_style_path(file_name)  # again: a linked name was not there to be checked before the run
        path.parent.mkdir(parents=True, exist_ok=True)
        save_style(path, style)
        return io.NodeOutput(style, ui=ui.PreviewText(f"{style.name}: {path.name}"))
