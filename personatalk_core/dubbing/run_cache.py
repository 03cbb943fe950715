"""Memory that was freed, given back to the system.

The C library keeps what a program frees, in pieces between what is still in use. Over an hour of pictures of
all sizes the pieces grow, though nothing is leaked: 150 MiB were measured within one minute of video.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import sys
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from .. import __version__
from ..config import LANDMARKS, DubOptions
from ..errors import CacheLockedError, MediaError, PersonaTalkError, WeightsError
from ..models import Models
from ..types import FaceGeometry, ReferenceSelection, StyleEmbedding
from ..weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, sha256_of, write_atomically


def give_back_freed_memory() -> bool:
    """Give the free pages of the C heap back to the system; takes about a millisecond.

    Returns:
        Whether anything was given back; False where the C library is another than glibc and knows no such
        call.
    """
    trim = _malloc_trim()
    return trim is not None and trim(0) == 1


@lru_cache(maxsize=1)
def _malloc_trim():
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


WORK_FORMAT = 2  # of what is kept in a working folder


def run_inputs(verb: str, out: Path, models: Models, options: DubOptions, **more: str | None) -> dict:
    """The inputs of a run as JSON values: weights, settings, versions, device, and what only this verb has
    (``more``)."""
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
            digest.update(
                content.view(torch.uint8).numpy().tobytes() if content.numel() and content.ndim else b""
            )
        elif isinstance(content, FaceGeometry):
            digest.update((identity_of(content) or "").encode())
        else:
            digest.update(f"{field.name} {content!r}".encode())
    return digest.hexdigest()


KIND = "work"
MARKER = "work.json"  # says whose folder it is; without it nothing in a folder is touched
LOCK = "lock"
LOCK_SECONDS = (
    0.5  # how long a lock is asked for: a run that finished may just be removing it with its folder
)
MAKER = "PersonaTalk"


class RunCache:
    """A context manager. On success the folder goes; after a failure it stays if it holds finished work that
    is of use.

    Args:
        folder: where; made on entry.
        inputs: everything the result depends on, as JSON values. Work of other inputs is discarded, and
            ``remarks`` says so.
        keep:   False removes the folder after a failure, too.

    window: frames of work that are kept together; None: what suits each stage.
    Raises:
        CacheLockedError: another run holds the folder.  MediaError: it is not PersonaTalk's, or it cannot be
            written.
    """

    def __init__(self, folder: Path, inputs: dict, *, keep: bool = True) -> None:
        self.folder = Path(folder)
        self.inputs = json.loads(json.dumps(inputs, sort_keys=True, default=str))
        self.key = hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()
        self.keep = keep
        self.window: int | None = None
        self.remarks: list[str] = []
        self._lock: FileLock | None = None

    def __enter__(self) -> "RunCache":
        try:
            self._lock = self._locked()
            self._claim()
        except OSError as error:
            self._unlock()
            raise unwritable(self.folder, error) from error
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        curable = error is not None and (
            isinstance(error, (MediaError, OSError)) or not isinstance(error, PersonaTalkError)
        )
        kept = self.keep and curable and self.finished()
        if not kept:
            with contextlib.suppress(OSError):
                self._discard()
        self._unlock()
        if isinstance(error, OSError):
            if isinstance(error, FileNotFoundError) and error.filename:
                error = gone(error)
            else:
                error = unwritable(error.filename or self.folder.parent, error)
        if isinstance(error, MediaError) and (kept or kind is not MediaError):
            more = (
                f" Finished work is kept in {self.folder}, and the same command goes on from there."
                if kept
                else ""
            )
            raise MediaError(f"{error}{more}") from error

    def path(self, name: str) -> Path:
        """A file of this folder."""
        return self.folder / name

    def finished(self) -> bool:
        """Something is kept that a later run would not have to do again."""
        with contextlib.suppress(OSError):
            return any(file.suffix == ".safetensors" for file in self.folder.iterdir())
        return False

    def save(self, name: str, tensors: dict[str, Tensor], config: dict | None = None) -> None:
        """Keep finished work under a name, whole or not at all; what the work has freed goes back to the
        system.

        Raises:
            MediaError: the disk is full or closed.
        """
        try:
            save_checkpoint(self.path(f"{name}.safetensors"), tensors, kind=KIND, config=config or {})
        except OSError as error:
            raise unwritable(self.folder, error) from error
        give_back_freed_memory()

    def load(self, name: str) -> Checkpoint | None:
        """What an earlier run kept under a name: tensors and config; None where there is nothing, or nothing
        sound."""
        path = self.path(f"{name}.safetensors")
        if not path.is_file():
            return None
        try:
            return load_checkpoint(path, kind=KIND)
        except WeightsError:
            return None  # a machine that lost power: made again

    def _locked(self) -> FileLock:
        """The lock of this folder, held until the process ends or :meth:`_unlock`."""
        lock = FileLock(self.path(LOCK), thread_local=False)
        while True:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=LOCK_SECONDS, poll_interval=LOCK_SECONDS / 10)
                return lock
            except (FileNotFoundError, FileExistsError):
                if self.folder.is_file():
                    raise
                # a run that finished has just removed the folder: made again
            except Timeout as error:
                raise CacheLockedError(
                    f"Another run is writing here at this moment ({self.folder}); wait until it has "
                    "finished or choose another output."
                ) from error

    def _claim(self) -> None:
        marker = self.path(MARKER)
        others = [file for file in self.folder.iterdir() if file.name != LOCK]
        if others:
            try:
                stated = json.loads(marker.read_text(encoding="utf-8"))
                ours = stated["maker"] == MAKER
            except (OSError, ValueError, KeyError, TypeError):
                # killed while the first entry was being written: only our own unnamed pieces are there
                stated, ours = {}, all(file.name.startswith(f".{MARKER}.") for file in others)
            if not ours:
                raise MediaError(
                    f"{self.folder} holds files that are not PersonaTalk's; move them away or choose "
                    "another output."
                )
            if stated.get("key") == self.key:
                self._sweep()
                return
            if self.finished():
                changed = sorted(
                    name for name in self.inputs if stated.get("inputs", {}).get(name) != self.inputs[name]
                )
                self.remarks.append(
                    f"Unfinished work of an earlier run was discarded; it differed in {', '.join(changed)}."
                )
            self._empty()
        stated = {"maker": MAKER, "key": self.key, "inputs": self.inputs}
        write_atomically(marker, (json.dumps(stated, indent=2, sort_keys=True) + "\n").encode())

    def _sweep(self) -> None:
        """Remove half-written pieces of a killed run."""
        for file in self.folder.iterdir():
            if file.name.startswith("."):
                file.unlink()

    def _empty(self) -> None:
        for file in self.folder.iterdir():
            if file.name != LOCK and file.is_file():
                file.unlink()

    def _discard(self) -> None:
        self._empty()
        if os.name == "nt":
            self._unlock()  # an open file cannot be removed there
        self.path(LOCK).unlink(missing_ok=True)
        self.folder.rmdir()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def cache_beside(out: Path, inputs: dict, *, folder: Path | None = None, keep: bool = True) -> RunCache:
    """The working folder of an output: hidden beside it, or in another ``folder`` under the name of its
    key."""
    if folder is None:
        return RunCache(Path(out).parent / f".{Path(out).name}.personatalk", inputs, keep=keep)
    work = RunCache(Path(folder), inputs, keep=keep)
    work.folder = Path(folder) / f".{work.key[:16]}.personatalk"
    return work


def gone(error: FileNotFoundError) -> MediaError:
    """What a user can do about a file that vanished during a run."""
    return MediaError(
        f"{error.filename} does not exist any more; put it back and run the same command again."
    )


def unwritable(path: Path | str, error: OSError) -> MediaError:
    """What a user can do about a file or folder that cannot be written."""
    reason = (error.strerror or str(error)).rstrip(".")
    return MediaError(
        f"{path} cannot be written ({reason}); check the folder's permissions and the free space on the disk."
    )
