"""The networks under ComfyUI's memory management: loaded onto its device when a node runs, moved off when
others need the room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..personatalk_core.models import Models


@dataclass(frozen=True, eq=False)
class ManagedModels:
    """models: as loaded, on the CPU.  patchers: ComfyUI's handles of the networks, (part, patcher) each."""

    models: Models
    patchers: tuple

    def ready(self, *needs: str) -> Models:
        """The models with the named networks (``speech``, ``renderer``) on the compute device."""
        import comfy.model_management as mm

        needed = [patcher for part, patcher in self.patchers if part in needs]
        if not needed:
            return self.models
        mm.load_models_gpu(needed)
        return replace(self.models, device=needed[0].load_device)


def manage(models: Models, dtype: str) -> ManagedModels:
    """Hand the networks over to ComfyUI, which says where they compute. Raises OptionsError for a dtype that
    device cannot do."""
    import comfy.model_management as mm
    from comfy.model_patcher import CoreModelPatcher

    from ..personatalk_core.models import choose_dtype

    models = replace(models, dtype=choose_dtype(dtype, mm.get_torch_device()))
    networks = []
    if models.speech is not None:
        networks += [("speech", models.speech.audio_encoder), ("speech", models.speech.lip_sync)]
    if models.renderer is not None:
        networks.append(("renderer", models.renderer))
    devices = {"load_device": mm.get_torch_device(), "offload_device": mm.unet_offload_device()}
    return ManagedModels(
        models, tuple((part, CoreModelPatcher(network, **devices)) for part, network in networks)
    )
