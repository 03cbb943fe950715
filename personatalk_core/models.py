"""The networks and models one run uses, resolved, verified and loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .config import LANDMARKS, DubOptions
from .device import choose_device, choose_dtype
from .geometry.coefficient_network import CoefficientNetwork, load_coefficient_network
from .geometry.face_model import FaceModel, load_face_model
from .rendering.renderer import DualAttentionRenderer, load_renderer
from .speech.networks import SpeechNetworks, load_speech_networks
from .weights.resolver import HubSource, ResolvedWeights, resolve_weights

PARTS = ("face_landmarker", "face_model", "audio_encoder", "lip_sync", "renderer")


@dataclass(frozen=True, eq=False)
class Models:
    """Everything trained, on its device. ``speech`` and ``renderer`` are None where a run does not need them; ``initializer`` is
    None where the fitting starts from the landmarks."""

    landmarker: Path
    face_model: FaceModel
    speech: SpeechNetworks | None
    renderer: DualAttentionRenderer | None
    device: torch.device
    dtype: torch.dtype
    origins: dict[str, ResolvedWeights]
    initializer: CoefficientNetwork | None = None


def load_models(
    options: DubOptions,
    *,
    folder: Path | None = None,
    hub: HubSource | None = None,
    offline: bool = False,
    parts: Sequence[str] = ("speech", "renderer"),
) -> Models:
    """Resolve (local folder, then Hub, then bundled), verify and load the weights a run needs.

    Args:
        options: device, dtype and initializer.
        parts:   any of ``speech``, ``renderer``; the landmarker and the face model always come.
    Raises:
        WeightsError: something is missing, corrupted or of another shape.
        OptionsError: the device is not there.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    names = ["face_landmarker", "face_model"]
    names += ["audio_encoder", "lip_sync"] if "speech" in parts else []
    names += ["renderer"] if "renderer" in parts else []
    found = {name: resolve_weights(name, folder=folder, hub=hub, offline=offline) for name in names}
    face_model = load_face_model(found["face_model"].path)
    speech = load_speech_networks(found["lip_sync"].path, found["audio_encoder"].path, face_model).to(device) if "speech" in parts else None
    renderer = load_renderer(found["renderer"].path, device) if "renderer" in parts else None
    own = options.initializer != LANDMARKS
    initializer = load_coefficient_network(Path(options.initializer)).to(device) if own else None
    return Models(found["face_landmarker"].path, face_model, speech, renderer, device, dtype, found, initializer)
