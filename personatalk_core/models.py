"""Everything trained that a run uses: resolved, verified, loaded once; and the device it computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .config import LANDMARKS, DubOptions
from .errors import FaceModelMismatchError, OptionsError
from .geometry.face_model import FaceModel, load_face_model
from .rendering.renderer import DualAttentionRenderer, load_renderer
from .speech.networks import SpeechNetworks, load_speech_networks
from .tracking.landmarks import FaceLandmarker
from .weights.resolver import HubSource, ResolvedWeights, resolve_weights

if TYPE_CHECKING:
    from .geometry.coefficient_network import CoefficientNetwork

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device for ``auto | cpu | cuda | mps``; ``auto`` takes the host's GPU where there is one.

    Raises:
        OptionsError: the device asked for is not there.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available.get(name, False):
        raise OptionsError(
            f"device is '{name}' but this machine offers "
            f"{', '.join(k for k, v in available.items() if v)}; choose one of these or auto."
        )
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format for ``auto | fp32 | bf16 | fp16``; ``auto`` is fp32 everywhere, the format the
    weights were checked in.

    Raises:
        OptionsError: fp16 on a CPU, which has no fast half-precision kernels.
    """
    if name == "auto":
        return torch.float32
    if name == "fp16" and device.type == "cpu":
        raise OptionsError(
            "dtype is 'fp16' but the device is the CPU, which computes it slowly and coarsely; choose fp32 "
            "or bf16."
        )
    return _DTYPES[name]


PARTS = ("face_landmarker", "face_model", "audio_encoder", "lip_sync", "renderer")


@dataclass(frozen=True, eq=False)
class Models:
    """Everything trained, on its device. ``speech`` and ``renderer`` are None where a run does not need them;
    ``initializer`` is None where the fitting starts from the landmarks."""

    landmarker: Path
    face_model: FaceModel
    speech: SpeechNetworks | None
    renderer: DualAttentionRenderer | None
    device: torch.device
    dtype: torch.dtype
    origins: dict[str, ResolvedWeights]
    initializer: CoefficientNetwork | None = None

    def open_landmarker(self) -> FaceLandmarker:
        """MediaPipe's networks; a context manager that releases them."""
        return FaceLandmarker(self.landmarker)

    def need_speech(self) -> SpeechNetworks:
        """The speech networks. Raises OptionsError where they were not loaded."""
        if self.speech is None:
            raise OptionsError(
                "the models were loaded without 'speech'; load them with parts=('speech', ...)."
            )
        return self.speech

    def need_renderer(self) -> DualAttentionRenderer:
        """The renderer. Raises OptionsError where it was not loaded."""
        if self.renderer is None:
            raise OptionsError(
                "the models were loaded without 'renderer'; load them with parts=('renderer', ...)."
            )
        return self.renderer

    def check_face_model(self, what: str, identity: str) -> None:
        """Refuse geometry or style of another face model. Raises FaceModelMismatchError."""
        if identity != self.face_model.sha256:
            raise FaceModelMismatchError(
                f"{what} was made with face model {identity[:12]} but {self.face_model.sha256[:12]} is "
                "loaded; make it again with this face model or load the one it was made with."
            )


def load_models(
    options: DubOptions | None = None,
    *,
    folder: Path | None = None,
    hub: HubSource | None = None,
    offline: bool = False,
    parts: Sequence[str] = ("speech", "renderer"),
) -> Models:
    """Resolve (local folder, then Hub, then bundled), verify and load the weights a run needs.

    Args:
        options: device, dtype and initializer; None takes the defaults.
        parts:   any of ``speech``, ``renderer``; the landmarker and the face model always come.
    Raises:
        WeightsError: something is missing, corrupted or of another shape.
        OptionsError: the device is not there.
    """
    options = options or DubOptions()
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    names = ["face_landmarker", "face_model"]
    names += ["audio_encoder", "lip_sync"] if "speech" in parts else []
    names += ["renderer"] if "renderer" in parts else []
    found = {name: resolve_weights(name, folder=folder, hub=hub, offline=offline) for name in names}
    face_model = load_face_model(found["face_model"].path)
    speech = (
        load_speech_networks(found["lip_sync"].path, found["audio_encoder"].path, face_model).to(device)
        if "speech" in parts
        else None
    )
    renderer = load_renderer(found["renderer"].path, device) if "renderer" in parts else None
    initializer = None
    if options.initializer != LANDMARKS:
        from .geometry.coefficient_network import load_coefficient_network

        initializer = load_coefficient_network(Path(options.initializer)).to(device)
    return Models(
        found["face_landmarker"].path, face_model, speech, renderer, device, dtype, found, initializer
    )
