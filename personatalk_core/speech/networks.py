"""The trained networks of the speech stage, loaded together and checked against each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import FaceModelMismatchError, WeightsError
from ..geometry.face_model import FaceModel
from ..types import FaceGeometry, StyleEmbedding
from ..weights.checkpoint import load_checkpoint, load_into, save_checkpoint
from ..weights.manifest import BUNDLED_FOLDER
from .audio_encoder import AudioEncoder, AudioEncoderConfig
from .network import LipSyncConfig, LipSyncNetwork

BUNDLED_LIP_SYNC = BUNDLED_FOLDER / "lip_sync.safetensors"
BUNDLED_AUDIO_ENCODER = BUNDLED_FOLDER / "audio_encoder.safetensors"
MOONSHINE_NOTICE = BUNDLED_FOLDER / "NOTICE_moonshine.txt"
"""What every encoder that was initialised from Moonshine has to carry."""


@dataclass(frozen=True, eq=False)
class SpeechNetworks:
    """E_aud and everything behind it. sha256: of the lip-sync file, which is what a style belongs to."""

    audio_encoder: AudioEncoder
    lip_sync: LipSyncNetwork
    sha256: str = ""

    def check_face_model(self, face_model: FaceModel) -> None:
        """Raise FaceModelMismatchError unless the networks were trained with this face model."""
        expected = self.lip_sync.config.face_model
        if face_model.sha256 != expected:
            raise FaceModelMismatchError(
                f"The speech weights belong to face model {expected[:12]} but {face_model.sha256[:12]} is "
                "in use; use weights trained with it."
            )

    def check_geometry(self, geometry: FaceGeometry) -> None:
        """Raise FaceModelMismatchError unless the geometry is of the networks' face model."""
        expected = self.lip_sync.config.face_model
        if geometry.face_model != expected:
            raise FaceModelMismatchError(
                f"The geometry was made with face model {geometry.face_model[:12]} but {expected[:12]} is "
                "in use; estimate the geometry again."
            )

    def check_style(self, style: StyleEmbedding) -> None:
        """Raise FaceModelMismatchError unless the style was made by these networks."""
        if style.face_model != self.lip_sync.config.face_model or style.network != self.sha256:
            raise FaceModelMismatchError(
                f"The style '{style.name}' was made with other speech weights or another face model; "
                "extract it again."
            )

    def to(self, device: torch.device | str) -> SpeechNetworks:
        """Move both networks; returns self for chaining."""
        self.audio_encoder.to(device)
        self.lip_sync.to(device)
        return self


def network_for(face_model: FaceModel, **sizes: Any) -> LipSyncNetwork:
    """A new network for a face model, with E_vtx started as the inverse of its lower expression basis.

    Args:
        sizes: of :class:`LipSyncConfig`, but those that the face model sets.
    """
    lower = face_model.lower_vertices
    config = LipSyncConfig(len(lower), face_model.lower_count, face_model.sha256, **sizes)
    network = LipSyncNetwork(config)
    network.start_from_basis(face_model.expression_basis[: face_model.lower_count, lower])
    return network


def load_speech_networks(
    lip_sync: Path | None = None, audio_encoder: Path | None = None, face_model: FaceModel | None = None
) -> SpeechNetworks:
    """Load both files; None means the bundled one. A face model given is checked against the one they were
    trained with.

    Raises:
        FaceModelMismatchError: the weights belong to another face model.
        WeightsError: a file is missing, corrupted, of another kind or shape, or the two were not trained
            together.
    """
    lip_path, audio_path = Path(lip_sync or BUNDLED_LIP_SYNC), Path(audio_encoder or BUNDLED_AUDIO_ENCODER)
    lip_file = load_checkpoint(lip_path, kind="lip_sync")
    audio_file = load_checkpoint(audio_path, kind="audio_encoder")
    partner = lip_file.config.get("audio_encoder")
    if partner != audio_file.sha256:
        raise WeightsError(
            f"{lip_path.name} was not trained with {audio_path.name}; take both files from the same release."
        )
    try:
        lip_config = LipSyncConfig(**{k: v for k, v in lip_file.config.items() if k != "audio_encoder"})
        audio_config = AudioEncoderConfig(**audio_file.config)
    except TypeError as error:
        raise WeightsError(
            f"{lip_path.name} or {audio_path.name} has a configuration this release does not know "
            f"({error}); update PersonaTalk."
        ) from error
    encoder = load_into(AudioEncoder(audio_config), audio_file, audio_path.name)
    network = load_into(LipSyncNetwork(lip_config), lip_file, lip_path.name)
    networks = SpeechNetworks(encoder, network, lip_file.sha256)
    if face_model is not None:
        networks.check_face_model(face_model)
    return networks


def save_speech_networks(
    encoder: AudioEncoder, network: LipSyncNetwork, lip_sync: Path, audio_encoder: Path, card: str = ""
) -> str:
    """Write both files, the encoder in half precision, each naming the other. Returns the lip-sync file's
    sha256."""
    if encoder.config.kind == "moonshine":
        notice = MOONSHINE_NOTICE.read_text(encoding="utf-8").rstrip("\n")
    else:
        notice = "Apache-2.0. Initialised from HuBERT."
    half = {name: t.half() if t.is_floating_point() else t for name, t in encoder.state_dict().items()}
    partner = save_checkpoint(
        audio_encoder, half, kind="audio_encoder", config=asdict(encoder.config), licence=notice, card=card
    )
    config = {**asdict(network.config), "audio_encoder": partner}
    return save_checkpoint(
        lip_sync, network.state_dict(), kind="lip_sync", config=config, licence="Apache-2.0", card=card
    )
