"""Style files: a small safetensors file with the vector, a name, a thumbnail and what made it."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import FaceModelMismatchError, ShapeError, WeightsError
from ..geometry.face_model import FaceModel
from ..types import StyleEmbedding
from ..weights.checkpoint import load_checkpoint, save_checkpoint
from .networks import SpeechNetworks

MAX_FILE = 4 << 20  # bytes of a style file; ours have a few thousand
MAX_THUMBNAIL = 1024  # pixels a side
MAX_TEXT = 300  # characters of a name or a hash


def save_style(path: Path, style: StyleEmbedding) -> str:
    """Write a style whole or not at all. Returns the file's sha256."""
    tensors = {
        "vector": style.vector.float(),
        "thumbnail": torch.frombuffer(bytearray(style.thumbnail or b"\0"), dtype=torch.uint8),
    }
    config = {
        "name": style.name,
        "source": style.source,
        "face_model": style.face_model,
        "network": style.network,
        "thumbnail_bytes": len(style.thumbnail),
    }
    return save_checkpoint(Path(path), tensors, kind="style", config=config)


def _text(value: object, name: str) -> str:
    """Plain text that may be shown on a page or in a message; a name is never used as a path."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name} is not plain text of at most {MAX_TEXT} characters")
    return value


def _thumbnail(data: torch.Tensor, count: object) -> bytes:
    """JPEG bytes of a small picture, or none; its size is read from its header, before decoding."""
    if (
        type(count) is not int
        or not 0 <= count <= data.numel()
        or data.dtype != torch.uint8
        or data.ndim != 1
    ):
        raise ValueError("the thumbnail is not a row of bytes")
    picture = bytes(data[:count].tolist())
    size = jpeg_size(picture)
    if picture and (size is None or max(size) > MAX_THUMBNAIL or min(size) < 1):
        raise ValueError(
            f"the thumbnail is {size} but expected a JPEG of at most {MAX_THUMBNAIL} pixels a side"
        )
    return picture


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) from a JPEG's frame header, without decoding; None where the bytes are no JPEG."""
    if data[:2] != b"\xff\xd8":
        return None
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker, length = data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = data[offset + 5 : offset + 7], data[offset + 7 : offset + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        offset += 2 + max(length, 2)
    return None


def load_style(
    path: Path, face_model: FaceModel | None = None, networks: SpeechNetworks | None = None
) -> StyleEmbedding:
    """Read a style; a face model or networks that are given must be the ones that made it.

    Raises:
        WeightsError: missing, damaged, or not a style file.
        FaceModelMismatchError: made with another face model or by other networks.
    """
    checkpoint = load_checkpoint(Path(path), kind="style", largest=MAX_FILE)
    config, tensors = checkpoint.config, checkpoint.tensors
    try:
        texts = {name: _text(config[name], name) for name in ("name", "face_model", "network", "source")}
        thumbnail = _thumbnail(tensors["thumbnail"], config["thumbnail_bytes"])
        style = StyleEmbedding(vector=tensors["vector"].float(), thumbnail=thumbnail, **texts)
    except (KeyError, TypeError, ValueError, ShapeError) as error:
        raise WeightsError(
            f"{path} is not a complete style file ({error}); extract the style again."
        ) from error
    if networks is not None:
        networks.check_style(style)
    if face_model is not None and style.face_model != face_model.sha256:
        raise FaceModelMismatchError(
            f"The style '{style.name}' belongs to face model {style.face_model[:12]}, not to "
            f"{face_model.sha256[:12]}; extract it again."
        )
    return style
