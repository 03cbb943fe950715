"""One job of a batch: its identity, its run, and its line of results.jsonl."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, field
from dataclasses import dataclass as frozen_value
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .. import __version__, pipeline
from ..config import DubOptions
from ..dubbing.progress import Progress
from ..dubbing.run import OutputFiles
from ..errors import CacheLockedError, MediaError, OptionsError, PersonaTalkError
from ..media.content_credentials import ContentSigner, SigningChoice, signed_output
from ..media.image_sequence import find_sequence, is_sequence, sequence_hash
from ..models import Models, load_models
from ..speech.style_file import load_style
from ..types import DubReport
from ..weights.checkpoint import sha256_of, write_atomically
from ..weights.resolver import HubSource
from .manifest import Job

DONE, FAILED = "done", "failed"
PATIENCE = 120.0  # seconds to wait for a cache that another run holds
RESULTS = "results.jsonl"
LOCK = ".batch.lock"


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="ignore"))
class JobResult:
    """One line of results.jsonl.

    Attributes:
        out: the job's file, relative to the output folder.
        line: of the manifest.
        status: ``done`` or ``failed``.
        error: the sentence, empty when done.
        key: hash of the job, its inputs' contents and the weights.
        sha256: of the file that was written.
        attempts: runs that came to an end, this one included.
        lost: runs whose worker died.
        seconds: of the last run.
        frames, dubbed, passed_through, warnings: from the report.
        worker: host that ran it.
    """

    out: str
    line: int
    status: Literal["done", "failed"]
    error: str = ""
    key: str = ""
    sha256: str = ""
    attempts: int = 1
    lost: int = 0
    seconds: float = 0.0
    frames: int = 0
    dubbed: int = 0
    passed_through: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    worker: str = ""


@frozen_value(frozen=True)
class WeightsChoice:
    """Where weights come from; as :func:`models.load_models`."""

    folder: Path | None = None
    hub: HubSource | None = None
    offline: bool = False


@frozen_value(frozen=True)
class BatchSetup:
    """What all jobs of a batch share.

    Attributes:
        folder: where outputs, reports and results.jsonl go.
        base: device, number format and defaults of all jobs.
        weights: where each process takes its weights from.
        signing: with what to sign each file; nothing is signed without a certificate.
    """

    folder: Path
    base: DubOptions
    weights: WeightsChoice = WeightsChoice()
    signing: SigningChoice = SigningChoice()

    def load_models(self) -> Models:
        """The models of one process. Raises as :func:`models.load_models`."""
        where = self.weights
        return load_models(self.base, folder=where.folder, hub=where.hub, offline=where.offline)


class JobProgress(Progress):
    """Tells ``on_step`` the stage, its steps done and its steps in all."""

    def __init__(self, on_step: Callable[[str, int, int], None]) -> None:
        super().__init__()
        self._on_step = on_step

    def show(self, name: str, done: int, total: int) -> None:
        self._on_step(name, done, total)


def job_key(job: Job, options: DubOptions, weights: dict[str, str], signed: bool = False) -> str:
    """What a finished file must agree with to be kept: the job's choices, the bytes of its inputs, the
    weights, the release.

    Args:
        weights: sha256 of each by name.
        signed:  whether it carries the user's signature.
    Returns:
        64 hexadecimal digits; empty where an input cannot be read.
    """
    try:
        inputs = [
            sequence_hash(find_sequence(path)) if is_sequence(path) else sha256_of(path)
            for path in job.inputs
        ]
    except (OSError, MediaError):
        return ""
    choices = {name: value for name, value in asdict(options).items() if name != "device"}
    identity = [
        __version__,
        job.out,
        job.mask_out,
        job.style is not None,
        inputs,
        choices,
        sorted(weights.items()),
        signed,
    ]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def weights_of(models: Models) -> dict[str, str]:
    """sha256 of every weight in use, by name."""
    return {name: found.sha256 for name, found in models.origins.items()}


def run_job(
    job: Job, setup: BatchSetup, models: Models, signer: ContentSigner | None, progress: Progress
) -> JobResult:
    """Dub one job; a failure becomes a result, never an exception.

    Only KeyboardInterrupt and its like escape: they end the batch, and what was half written is gone by then.
    """
    started = time.monotonic()
    try:
        key = job_key(job, job.dub_options(setup.base), weights_of(models), signer is not None)
        report = _dub_and_sign(job, setup, models, signer, progress)
        return JobResult(
            out=job.out,
            line=job.line,
            status="done",
            key=key,
            sha256=sha256_of(setup.folder / job.out),
            seconds=round(time.monotonic() - started, 3),
            frames=report.frames,
            dubbed=report.dubbed,
            passed_through=dict(report.passed_through),
            warnings=list(report.warnings),
            worker=socket.gethostname(),
        )
    except PersonaTalkError as error:
        sentence = str(error)
    except Exception as error:  # a bug in one job must not take the others with it
        sentence = (
            f"Unexpected {type(error).__name__}: {error}. Please report this with the file that caused it."
        )
    return JobResult(
        out=job.out,
        line=job.line,
        status="failed",
        error=" ".join(sentence.split()),
        seconds=round(time.monotonic() - started, 3),
        worker=socket.gethostname(),
    )


def _dub_and_sign(
    job: Job, setup: BatchSetup, models: Models, signer: ContentSigner | None, progress: Progress
) -> DubReport:
    """Write the job's video, signed if asked for, and its report beside it."""
    folder, options = setup.folder, job.dub_options(setup.base)
    style = load_style(job.style, models.face_model, models.speech) if job.style else None
    mask = folder / job.mask_out if job.mask_out else None
    with signed_output(folder / job.out, signer, source=job.video, others=job.inputs[1:]) as out:
        files = OutputFiles(out, mask)
        report = _dub_when_free(job.video, job.audio, files, models, options, style=style, progress=progress)
    report.seconds = {name: round(seconds, 3) for name, seconds in progress.seconds.items()}
    write_atomically(folder / job.report, (json.dumps(asdict(report), indent=2) + "\n").encode())
    return report


def _dub_when_free(*inputs, **choices) -> DubReport:
    """pipeline.dub, once a dying worker of a lost node has let go of the job's cache."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return pipeline.dub(*inputs, **choices)
        except CacheLockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def is_finished(
    job: Job,
    result: JobResult | None,
    folder: Path,
    base: DubOptions,
    weights: dict[str, str],
    signed: bool = False,
) -> bool:
    """The job's file is there as an earlier run left it, from the same inputs, choices and weights."""
    if result is None or result.status != DONE or not result.key:
        return False
    written = [name for name in (job.out, job.mask_out, job.report) if name]
    if not all((folder / name).is_file() for name in written):
        return False
    return result.key == job_key(job, job.dub_options(base), weights, signed) and result.sha256 == sha256_of(
        folder / job.out
    )


class ResultsFile:
    """results.jsonl of one output folder: one line a job, appended whole. A context manager: while it is
    open, no other batch writes there.

    Raises (on entering):
        OptionsError: the folder cannot be written to, or another batch is at work in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / RESULTS
        self._lock = FileLock(self.folder / LOCK, thread_local=False)

    def __enter__(self) -> ResultsFile:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / LOCK).touch()
        except OSError as error:
            raise OptionsError(
                f"The output folder {self.folder} cannot be written to ({error.strerror}); choose another."
            ) from error
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OptionsError(
                f"Another batch is writing to {self.folder}; wait for it, or choose another folder."
            ) from error
        except OSError:
            pass  # a file system without locks: nothing to hold on to
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()  # the system does it after a kill

    def read(self) -> dict[str, JobResult]:
        """The last line of each job by ``out``. Lines that make no sense, such as one cut off by a power
        failure, are left out."""
        if not self.path.is_file():
            return {}
        found = map(_parse, self.path.read_bytes().splitlines())
        return {result.out: result for result in found if result is not None}

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


_RESULT = TypeAdapter(JobResult)


def _line(result: JobResult) -> bytes:
    return (json.dumps(asdict(result), ensure_ascii=True) + "\n").encode()


def _parse(line: bytes) -> JobResult | None:
    try:
        return _RESULT.validate_json(line)
    except ValidationError:
        return None
