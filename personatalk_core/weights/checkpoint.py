"""Safetensors checkpoints that carry their own configuration, written whole or not at all.

The metadata entry ``personatalk`` is JSON: kind, version, config (network sizes), licence, card (free text).
Nothing here unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)
FORMAT_VERSION = 1
LARGEST = 8 << 30  # bytes of a file that is read, where its kind sets no lower bound


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One loaded file: kind, config (plain JSON values), tensors by name, sha256 of the file."""

    kind: str
    config: dict
    tensors: dict[str, Tensor]
    sha256: str
    licence: str = ""
    card: str = ""


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to a temporary file beside ``path`` and rename it, so that no reader sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open(
            "xb"
        ) as stream:  # an ordinary new file: the user's own permissions, not a temporary file's
            stream.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], *, kind: str, config: dict, licence: str = "", card: str = ""
) -> str:
    """Save tensors with their configuration; the same content gives the same bytes.

    Args:
        path:    target file.
        tensors: name to tensor, any device; stored contiguous on the CPU.
        kind:    what it is: ``face_model``, ``audio_encoder``, ``lip_sync``, ``renderer``, ``style``,
            ``geometry`` ...
        config:  JSON-serialisable network sizes.
    Returns:
        sha256 of the file written.
    """
    entry = {"kind": kind, "version": FORMAT_VERSION, "config": config, "licence": licence, "card": card}
    plain = {
        name: tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        for name in sorted(tensors)
    }
    data = save(plain, metadata={"personatalk": json.dumps(entry, sort_keys=True)})
    write_atomically(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(
    path: Path, *, kind: str, sha256: str | None = None, largest: int = LARGEST
) -> Checkpoint:
    """Load a safetensors file of a stated kind.

    Args:
        largest: bytes beyond which the file is not even hashed.
    Raises:
        WeightsError: missing, unreadable, too large, another hash, another kind, or non-finite values.
    """
    # the file: there, not too large, the one that was asked for
    path = Path(path)
    if not _is_file(path):
        raise WeightsError(f"{path} does not exist; expected {kind} weights there.")
    if path.stat().st_size > largest:
        raise WeightsError(
            f"{path} has {path.stat().st_size} bytes but {kind} files have at most {largest}; restore it "
            "from a good copy."
        )
    actual = sha256_of(path)
    if sha256 is not None and actual != sha256:
        raise WeightsError(
            f"{path} has sha256 {actual} but expected {sha256}; download it again or restore it from the "
            "repository."
        )

    # its header and tensors
    try:
        with safe_open(str(path), framework="pt", device="cpu") as stream:
            entry = json.loads((stream.metadata() or {}).get("personatalk", "{}"))
            if not isinstance(entry, dict):
                raise WeightsError(
                    f"{path} has a 'personatalk' header that is not a JSON object; restore the file from a "
                    "good copy."
                )
            if entry.get("kind") != kind:
                raise WeightsError(
                    f"{path} holds '{entry.get('kind', 'an unknown kind of data')}' but expected '{kind}'."
                )
            if not isinstance(entry.get("version"), int) or not isinstance(entry.get("config"), dict):
                raise WeightsError(
                    f"{path} states no version number or no configuration; restore the file from a good copy."
                )
            if entry["version"] > FORMAT_VERSION:
                raise WeightsError(
                    f"{path} has format {entry['version']} but this release reads {FORMAT_VERSION}; update "
                    "PersonaTalk."
                )
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); restore it from a good copy."
        ) from error

    # finite values only; 8-bit floats know no isfinite
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise WeightsError(
                f"{path} has non-finite values in '{name}'; restore the file from a good copy."
            )
    return Checkpoint(kind, entry["config"], tensors, actual, entry.get("licence", ""), entry.get("card", ""))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the file system has
        return False


def load_into(module: Network, checkpoint: Checkpoint, source: str = "checkpoint") -> Network:
    """Load tensors into a module after comparing every name and shape; the module comes back in eval mode.

    Raises:
        WeightsError: a name is missing or extra, or a shape differs; the first few are listed.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(checkpoint.tensors))
    extra = sorted(set(checkpoint.tensors) - set(expected))
    came = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    wrong = [
        f"{n} {came[n]} instead of {tuple(expected[n].shape)}"
        for n in expected
        if n in came and came[n] != tuple(expected[n].shape)
    ]
    if missing or extra or wrong:
        what = f"missing {missing[:3]}, unexpected {extra[:3]}, shapes {wrong[:3]}"
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {what}; use weights made for this release."
        )
    module.load_state_dict({n: t.to(expected[n].dtype) for n, t in checkpoint.tensors.items()})
    return module.eval()
