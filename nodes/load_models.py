"""Load Models."""

from __future__ import annotations

import json

from comfy_api.latest import io

from ..personatalk_core.config import LANDMARKS, DubOptions
from . import model_folders
from .choices import option_input
from .sockets import CATEGORY, Models


class LoadModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkLoadModels",
            display_name="Load Models (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Finds, verifies and loads the networks that every other PersonaTalk node uses. The "
                "shipped weights need no download."
            ),
            search_aliases=["lip sync model", "dubbing model", "talking head"],
            inputs=[
                io.Combo.Input(
                    "weights",
                    options=model_folders.weight_choices(),
                    default=model_folders.ROOT,
                    tooltip=(
                        "models/personatalk: your own files there win, the shipped ones fill in. A "
                        "subfolder: the same with that folder, such as one fine-tuned person. bundled: "
                        "only the shipped files. A file with a wrong checksum stops the run instead of "
                        "giving garbage."
                    ),
                ),
                option_input("dtype"),
                io.String.Input(
                    "hub",
                    default="",
                    advanced=True,
                    tooltip=(
                        "A Hugging Face repository with weights, as OWNER/NAME@COMMIT with the full commit "
                        "hash. Its files win over the shipped ones and are downloaded once. Empty: nothing "
                        "is downloaded."
                    ),
                ),
                option_input("initializer", choices=model_folders.initializer_choices(), optional=True),
            ],
            outputs=[
                Models.Output(
                    display_name="models", tooltip="To every PersonaTalk node that asks for models."
                ),
                io.String.Output(
                    display_name="origins", tooltip="Where each file came from and its checksum, as JSON."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, hub: str | None = None) -> bool | str:
        from ..personatalk_core.errors import OptionsError
        from ..personatalk_core.weights.hub import HubSource

        try:
            if hub:
                HubSource.parse(hub)
        except OptionsError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, weights: str, dtype: str, hub: str, initializer: str = LANDMARKS) -> str:
        return f"{model_folders.folder_state(weights)}|{model_folders.initializer_state(initializer)}"

    @classmethod
    def execute(cls, weights: str, dtype: str, hub: str, initializer: str = LANDMARKS) -> io.NodeOutput:
        from ..personatalk_core.models import load_models
        from ..personatalk_core.weights.hub import HubSource
        from .model_loading import manage

        source = HubSource.parse(hub) if hub else None
        options = DubOptions(device="cpu", initializer=model_folders.initializer_of(initializer))
        models = load_models(options, folder=model_folders.weights_folder(weights), hub=source)
        origins = {
            name: {"origin": file.origin, "sha256": file.sha256, "note": file.note}
            for name, file in models.origins.items()
        }
        return io.NodeOutput(manage(models, dtype), json.dumps(origins, indent=2))
