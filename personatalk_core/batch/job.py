"""One job of a batch: its identity, its run, its line of result."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import __version__, pipeline
from ..config import DubOptions
from ..dubbing.progress import Progress
from ..errors import CacheLockedError, MediaError, PersonaTalkError
from ..media.content_credentials import ContentSigner, signed_output
from ..media.image_sequence import find_sequence, is_sequence, sequence_hash
from ..models import Models
from ..speech.style_file import load_style
from ..weights.checkpoint import sha256_of, write_atomically
from .manifest import Job

DONE, FAILED = "done", "failed"
PATIENCE = 120.0  # seconds to wait for a working folder


@dataclass(frozen=True)
class JobResult:
    """One line of results.jsonl.

    out: the job's file, relative to the output folder.  line: of the manifest.  status: ``done`` or
    ``failed``.  error: the sentence, empty when done.  key: hash of the job, its inputs' contents and the
    weights.  sha256: of the file that was written.
    attempts: runs that came to an end, this one included.  lost: runs whose worker died.  seconds: of the
        last run.  frames, dubbed,
    passed_through, warnings: from the report.  worker: host that ran it.
    """

    out: str
    line: int
    status: str
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
    job: Job,
    folder: Path,
    models: Models,
    base: DubOptions,
    progress: Progress | None = None,
    signer: ContentSigner | None = None,
) -> JobResult:
    """Dub one job into ``folder``; a failure becomes a result, never an exception.

    Only KeyboardInterrupt and its like escape: they end the batch, and what was half written is gone by then.
    """
    progress, started = progress or Progress(), time.monotonic()
    about = {"out": job.out, "line": job.line, "worker": socket.gethostname()}
    try:
        options = job.dub_options(base)
        key = job_key(job, options, weights_of(models), signer is not None)
        style = load_style(job.style, models.face_model, models.speech) if job.style else None
        mask = folder / job.mask_out if job.mask_out else None
        with signed_output(folder / job.out, signer, source=job.video, others=job.inputs[1:]) as out:
            report = _dub_when_free(
                job.video, job.audio, out, models, options, style=style, mask_out=mask, progress=progress
            )
        report.seconds = {name: round(seconds, 3) for name, seconds in progress.seconds.items()}
        write_atomically(folder / job.report, (json.dumps(asdict(report), indent=2) + "\n").encode())
        return JobResult(
            **about,
            status=DONE,
            key=key,
            sha256=sha256_of(folder / job.out),
            seconds=round(time.monotonic() - started, 3),
            frames=report.frames,
            dubbed=report.dubbed,
            passed_through=dict(report.passed_through),
            warnings=list(report.warnings),
        )
    except PersonaTalkError as error:
        sentence = str(error)
    except Exception as error:  # a bug in one job must not take the others with it
        sentence = (
            f"Unexpected {type(error).__name__}: {error}. Please report this with the file that caused it."
        )
    return JobResult(
        **about, status=FAILED, error=" ".join(sentence.split()), seconds=round(time.monotonic() - started, 3)
    )


def _dub_when_free(*inputs, **choices):
    """pipeline.dub, once a dying worker of a lost node has let go of the job's working folder."""
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
    wanted = [name for name in (job.out, job.mask_out, job.report) if name]
    if not all((folder / name).is_file() for name in wanted):
        return False
    return result.key == job_key(job, job.dub_options(base), weights, signed) and result.sha256 == sha256_of(
        folder / job.out
    )
