"""Style files: a small safetensors file with the vector, a name, a thumbnail and what made it."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import FaceModelMismatchError, ShapeError, WeightsError
from ..geometry.face_model import FaceModel
from ..types import StyleEmbedding
from ..weights.checkpoint import load_checkpoint, save_checkpoint
from .networks import SpeechNetworks


def save_style(path: Path, style: StyleEmbedding) -> str:
    """Write a style whole or not at all. Returns the file's sha256."""
    tensors = {"vector": style.vector.float(), "thumbnail": torch.frombuffer(bytearray(style.thumbnail or b"\0"), dtype=torch.uint8)}
    config = {
        "name": style.name,
        "source": style.source,
        "face_model": style.face_model,
        "network": style.network,
        "thumbnail_bytes": len(style.thumbnail),
    }
    return save_checkpoint(Path(path), tensors, kind="style", config=config)


def load_style(path: Path, face_model: FaceModel | None = None, networks: SpeechNetworks | None = None) -> StyleEmbedding:
    """Read a style and, when they are given, make sure that face model and networks are the ones that made it.

    Raises:
        WeightsError: missing, damaged, or not a style file.
        FaceModelMismatchError: made with another face model or by other networks.
    """
    checkpoint = load_checkpoint(Path(path), kind="style")
    config, tensors = checkpoint.config, checkpoint.tensors
    try:
        thumbnail = bytes(tensors["thumbnail"].tolist())[: config["thumbnail_bytes"]]
        owner = {name: config[name] for name in ("name", "face_model", "network", "source")}
        style = StyleEmbedding(vector=tensors["vector"].float(), thumbnail=thumbnail, **owner)
    except (KeyError, TypeError, ShapeError) as error:
        raise WeightsError(f"{path} is not a complete style file ({error}); extract the style again.") from error
    if networks is not None:
        networks.check_style(style)
    if face_model is not None and style.face_model != face_model.sha256:
        raise FaceModelMismatchError(
            f"The style '{style.name}' belongs to face model {style.face_model[:12]}, not to {face_model.sha256[:12]}; extract it again."
        )
    return style
