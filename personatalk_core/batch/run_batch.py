"""A whole batch: the manifest is read, what is finished is kept, the rest runs, and what failed is named."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import torch

from ..config import DubOptions
from ..errors import OptionsError
from ..media.content_credentials import ContentSigner, SigningChoice
from ..models import PARTS, Models
from ..weights.resolver import resolve_weights
from .job import FAILED, BatchSetup, JobProgress, JobResult, ResultsFile, WeightsChoice, is_finished, run_job
from .job_queue import JobQueue, JobResults, JobRunner, OnRunning, StageProgress
from .manifest import Job, read_manifest
from .ray_runner import RayOptions, RayRunner, import_ray, ray_is_installed

RUNNERS = ("auto", "ray", "one-by-one")
REDRAW = 0.5  # seconds between two drawings on a terminal
LINE = 30.0  # seconds between two lines where the output is a file


@dataclass(frozen=True)
class BatchOptions:
    """How the jobs of a batch run.

    Attributes:
        runner: ``auto`` takes Ray where it is installed; the files are the same either way.
        ray: where and how widely Ray runs; one by one takes its ``cpus`` as threads.
        retries: further attempts after a failed one, >= 0.
        quiet: draw no line of progress.
        on_taken: as :class:`ray_runner.RayRunner`.
    """

    runner: str = "auto"
    ray: RayOptions = field(default_factory=RayOptions)
    retries: int = 0
    quiet: bool = False
    on_taken: Callable[[list[Job]], None] | None = None

    @property
    def on_ray(self) -> bool:
        """Whether these jobs go to Ray."""
        if self.runner == "auto":
            return self.ray.address is not None or ray_is_installed()
        return self.runner == "ray"

    def verify(self) -> BatchOptions:
        """Return self, or raise OptionsError, or DependencyError where Ray is asked for and missing."""
        if self.runner not in RUNNERS:
            raise OptionsError(f"runner is '{self.runner}' but expected one of {', '.join(RUNNERS)}.")
        if self.retries < 0:
            raise OptionsError(f"retries is {self.retries} but expected 0 or more.")
        if self.on_ray:
            import_ray()
            self.ray.verify()
        return self


@dataclass(frozen=True)
class BatchSummary:
    """How a batch ended. total: jobs of the manifest.  kept: finished by an earlier run.  failed: their
    results."""

    total: int
    kept: int
    done: int
    failed: tuple[JobResult, ...]

    def __str__(self) -> str:
        kept = f", {self.kept} kept from an earlier run" if self.kept else ""
        lines = [f"{self.done + self.kept} of {self.total} jobs done{kept}"]
        return "\n".join(lines + [f"failed: line {r.line} ({r.out}): {r.error}" for r in self.failed])


def run_batch(
    manifest: Path,
    folder: Path,
    base: DubOptions,
    options: BatchOptions = BatchOptions(),
    *,
    weights: WeightsChoice = WeightsChoice(),  # noqa: B008 (frozen)
    signing: SigningChoice = SigningChoice(),  # noqa: B008 (frozen)
) -> BatchSummary:
    """Run every job of a manifest exactly once.

    Args:
        manifest: JSON Lines; README.md beside this file lists the fields.
        folder:   where outputs, reports and results.jsonl go.
        base:     device, number format and defaults of all jobs.
        options:  where and how the jobs run.
        signing:  with what to sign each file; nothing is signed without a certificate.
    Returns:
        What happened; failed jobs raise nothing here.
    Raises:
        OptionsError: the manifest or a choice is wrong; nothing has run.
        WeightsError, DependencyError: as their stages.
    """
    options.verify()
    signer = signing.signer()
    jobs = read_manifest(manifest, base.verify())
    setup = BatchSetup(Path(folder), base, weights, signing)
    places = {"folder": weights.folder, "hub": weights.hub, "offline": weights.offline}
    hashes = {name: resolve_weights(name, **places).sha256 for name in PARTS}
    with ResultsFile(folder) as results:
        known = results.read()
        signed = signer is not None
        kept = {j.out for j in jobs if is_finished(j, known.get(j.out), setup.folder, base, hashes, signed)}
        left = [job for job in jobs if job.out not in kept]
        # lines of jobs that run again go; those of other manifests stay
        again = {job.out for job in left}
        results.keep(result for out, result in known.items() if out not in again)

        with closing(BatchView(len(jobs), kept=len(kept), quiet=options.quiet)) as view:
            runner = _runner(setup, options, signer)
            with closing(runner.map(left, options.retries, view.show)) as ended:
                for result in ended if left else ():
                    results.append(result)
                    view.count(result)
    failed = sorted(view.failed, key=lambda result: result.line)
    return BatchSummary(len(jobs), len(kept), view.done, tuple(failed))


def _runner(setup: BatchSetup, options: BatchOptions, signer: ContentSigner | None) -> JobRunner:
    if options.on_ray:
        return RayRunner(setup, options.ray, options.on_taken)
    return OneByOne(setup, max(1, int(options.ray.cpus)), signer)


class OneByOne:
    """The plain way, a :class:`job_queue.JobRunner`: one job after the other in this process, with models
    loaded once.

    Args:
        threads: as many as a worker of Ray has: the last bits of a sum depend on how it is shared out.
        signer:  of ``setup.signing``.
    """

    def __init__(self, setup: BatchSetup, threads: int, signer: ContentSigner | None) -> None:
        self._setup, self._threads, self._signer = setup, threads, signer

    def map(self, jobs: Sequence[Job], retries: int, on_running: OnRunning) -> JobResults:
        """As :meth:`job_queue.JobRunner.map`."""
        queue, before = JobQueue(jobs, retries), torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            models = self._setup.load_models()
            while (job := queue.take()) is not None:
                result = queue.finish(self._run(job, models, on_running))
                if result is not None:
                    yield result
                on_running({}, "")
        finally:
            torch.set_num_threads(before)

    def _run(self, job: Job, models: Models, on_running: OnRunning) -> JobResult:
        progress = JobProgress(lambda stage, done, total: on_running({job.out: (stage, done, total)}, ""))
        return run_job(job, self._setup, models, self._signer, progress)


class BatchView:
    """What a person sees while a batch runs: how many jobs are done, failed and left, and where each running
    one is.

    One line on stderr, redrawn on a terminal; a line now and then elsewhere. Silent with ``quiet``.

    Attributes:
        done: jobs that this run finished.
        failed: results of those that failed.
    """

    def __init__(
        self, total: int, *, kept: int = 0, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self.done, self.failed = 0, list[JobResult]()
        self._total, self._kept, self._quiet = total, kept, quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last, self._width, self._counts = 0.0, 0, (-1, -1)

    def count(self, result: JobResult) -> None:
        """A job has ended for good."""
        if result.status == FAILED:
            self.failed.append(result)
        else:
            self.done += 1

    def show(self, running: Mapping[str, StageProgress], note: str = "") -> None:
        """Draw, if it is time. running: (stage, done, total) of each running job by its ``out``."""
        now, counts = time.monotonic(), (self.done, len(self.failed))
        pause = REDRAW if self._terminal else LINE
        if self._quiet or (counts == self._counts and now - self._last < pause):
            return
        self._last, self._counts = now, counts
        self._write(self.text(running, note))

    def text(self, running: Mapping[str, StageProgress], note: str = "") -> str:
        """The line itself."""
        ended = self._kept + self.done + len(self.failed)
        waiting = self._total - ended - len(running)
        counts = ((self._kept, "kept"), (len(self.failed), "failed"), (waiting, "waiting"))
        parts = [f"batch {ended}/{self._total}"]
        parts += [f"{count} {word}" for count, word in counts if count]
        parts += [
            f"{out}: {stage} {100 * done // max(1, total)}%" for out, (stage, done, total) in running.items()
        ]
        return " | ".join(parts + ([note] if note else []))

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._terminal:
            self._stream.write("\r" + text[:200].ljust(self._width))
            self._width = min(200, len(text))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
