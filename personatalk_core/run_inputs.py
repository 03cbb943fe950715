"""Everything that the bytes of an output depend on, named: the key under which unfinished work is kept."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, fields
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from . import __version__
from .config import LANDMARKS, DubOptions
from .models import Models
from .types import FaceGeometry, ReferenceSelection, StyleEmbedding
from .weights.checkpoint import sha256_of

WORK_FORMAT = 1  # of what is kept in a working folder


def run_inputs(verb: str, out: Path, models: Models, options: DubOptions, **more: str | None) -> dict:
    """The inputs of a run as JSON values: weights, settings, versions, device, and what only this verb has (``more``)."""
    weights = {name: found.sha256 for name, found in models.origins.items()}
    if options.initializer != LANDMARKS:
        weights["initializer"] = sha256_of(Path(options.initializer))
    device = torch.cuda.get_device_name(models.device) if models.device.type == "cuda" else str(models.device)
    return {
        "verb": verb,
        "format": WORK_FORMAT,
        "output": Path(out).suffix.lower(),
        "weights": weights | {"face model in use": models.face_model.sha256},
        "settings": asdict(options),
        "versions": {
            "personatalk": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "av": av.__version__,
        },
        "device": f"{device}, {models.dtype}, {torch.get_num_threads()} threads",
        **more,
    }


def identity_of(value: FaceGeometry | ReferenceSelection | StyleEmbedding | None) -> str | None:
    """A hash of all that a value holds; None for None."""
    if value is None:
        return None
    digest = hashlib.sha256()
    for field in fields(value):
        content = getattr(value, field.name)
        if isinstance(content, Tensor):
            content = content.detach().cpu().contiguous()
            digest.update(f"{field.name} {content.dtype} {tuple(content.shape)}".encode())
            digest.update(content.view(torch.uint8).numpy() if content.numel() and content.ndim else b"")
        elif isinstance(content, FaceGeometry):
            digest.update((identity_of(content) or "").encode())
        else:
            digest.update(f"{field.name} {content!r}".encode())
    return digest.hexdigest()
