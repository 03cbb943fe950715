"""results.jsonl: one line a job, appended whole, by the one process that holds the output folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from ..errors import OptionsError
from ..weights.checkpoint import write_atomically
from .job import DONE, FAILED, JobResult

NAME = "results.jsonl"
LOCK = ".batch.lock"
_FIELDS = {f.name for f in fields(JobResult)}


class ResultsFile:
    """The results of one output folder. A context manager: while it is open, no other batch writes there.

    Raises (on entering):
        OptionsError: the folder cannot be written to, or another batch is at work in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self._lock = None

    def __enter__(self) -> "ResultsFile":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("a")
        except OSError as error:
            raise OptionsError(
                f"The output folder {self.folder} cannot be written to ({error.strerror}); choose another."
            ) from error
        if not _try_lock(self._lock):
            self._lock.close()
            raise OptionsError(
                f"Another batch is writing to {self.folder}; wait for it, or choose another folder."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()  # the system lets go of the lock with the file, after a kill too

    def read(self) -> dict[str, JobResult]:
        """The last line of each job by ``out``. Lines that make no sense, such as one cut off by a power
        failure, are left out."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_bytes().splitlines():
            result = _parse(line)
            if result is not None:
                found[result.out] = result
        return found

    def keep(self, results: Iterable[JobResult]) -> None:
        """Replace the file by these lines, whole or not at all."""
        write_atomically(self.path, b"".join(map(_line, results)))

    def append(self, result: JobResult) -> None:
        """Add one line in one write, on the disk before this returns."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, _line(result))
            os.fsync(handle)
        finally:
            os.close(handle)


def _line(result: JobResult) -> bytes:
    return (json.dumps(asdict(result), ensure_ascii=True) + "\n").encode()


def _parse(line: bytes) -> JobResult | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("out"), str)
        or entry.get("status") not in (DONE, FAILED)
    ):
        return None
    defaults = asdict(JobResult(out="", line=0, status=DONE))
    if any(
        type(entry[name]) is not type(defaults[name]) for name in _FIELDS & set(entry) if name != "seconds"
    ):
        return None
    return JobResult(**{"line": 0} | {name: value for name, value in entry.items() if name in _FIELDS})


def _try_lock(stream) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nothing to hold on to
        return True
    return True
