"""The same jobs on Ray: actors that load the models once, on this machine or on a cluster.

Ray is imported here only, inside functions. What travels between processes is text and numbers. At most one
job is under way on an actor, and none is handed to an actor that has not started, so nothing piles up; an
actor that dies gives its job back. README.md beside this file says why this is not Ray's own ActorPool.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..config import DubOptions
from ..errors import DependencyError, OptionsError, PersonaTalkError, WeightsError
from ..media.content_credentials import ContentSigner
from ..models import Models
from .job import BatchSetup, JobProgress, JobResult, run_job
from .job_queue import JobQueue, JobResults, OnRunning, StageProgress
from .manifest import Job

OBJECT_STORE = 80 << 20  # bytes, instead of 30 % of the memory: results are a few hundred bytes
POLL = 1.0  # seconds between two looks at the progress of running jobs
PATIENCE = 60.0  # seconds without any worker before the view says so
STARTING: StageProgress = ("starting", 0, 1)
MAX_FALSE_STARTS = 5  # workers in a row that die before they are ready


@dataclass(frozen=True)
class RayOptions:
    """Where and how widely to run.

    Attributes:
        address: of a cluster; None starts Ray on this machine for the time of the batch.
        workers: actors; None as many as fit.
        cpus, gpus: what each holds; gpus None: 1 where the cluster has GPUs and ``device`` is not cpu, else
            0; 0.5 puts two on a GPU.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 2.0
    gpus: float | None = None

    def verify(self) -> RayOptions:
        """Return self, or raise OptionsError."""
        if self.workers is not None and self.workers < 1:
            raise OptionsError(f"workers is {self.workers} but expected 1 or more.")
        if not 0 < self.cpus <= 1024:
            raise OptionsError(f"CPUs a worker is {self.cpus} but expected a number above 0.")
        if self.gpus is not None and not (
            0 <= self.gpus <= 1 or (self.gpus <= 64 and float(self.gpus).is_integer())
        ):
            raise OptionsError(
                f"GPUs a worker is {self.gpus} but expected a share from 0 to 1, or a whole number."
            )
        return self


def ray_is_installed() -> bool:
    """Whether the extra is there, without importing it."""
    from importlib.util import find_spec

    return find_spec("ray") is not None


def import_ray() -> Any:
    """Ray, or DependencyError with what to install."""
    try:
        import ray
    except ImportError as error:
        raise DependencyError(
            "Ray is not installed; run: pip install 'personatalk[batch]', or use --runner one-by-one."
        ) from error
    return ray


class DubWorker:
    """One actor: models once, then job after job. ``progress`` is answered while a job runs, by a second
    thread."""

    def __init__(self, setup: BatchSetup, threads: int) -> None:
        self._setup, self._threads = setup, threads
        self._signer: ContentSigner | None = None
        self._models: Models | None = None
        self._progress = STARTING

    def ready(self) -> tuple[str, str]:
        """Load the models. Returns the host and, where they cannot be loaded, the sentence."""
        try:
            import torch

            torch.set_num_threads(self._threads)
            self._signer = self._setup.signing.signer()
            self._models = self._setup.load_models()
        except PersonaTalkError as error:
            return socket.gethostname(), str(error)
        return socket.gethostname(), ""

    def progress(self) -> StageProgress:
        """Stage, steps done, steps in all."""
        return self._progress

    def run(self, job: Job) -> dict:
        """Run one job; returns the fields of its JobResult."""
        if self._models is None:
            raise RuntimeError("a job was handed to a worker that has no models")  # ready() comes first
        self._progress = STARTING
        progress = JobProgress(self._on_step)
        return asdict(run_job(job, self._setup, self._models, self._signer, progress))

    def _on_step(self, stage: str, done: int, total: int) -> None:
        self._progress = (stage, done, total)


class RayRunner:
    """Runs jobs on Ray's actors; a :class:`job_queue.JobRunner`.

    Args:
        setup:    on a cluster every node must see the output folder, the inputs, and what to sign with under
            the same paths.
        choice:   where and how widely.
        on_taken: called when a job was handed to an actor, with all that are under way, the new one last.
    Raises (on the first result):
        DependencyError: Ray is not installed.
        OptionsError: the cluster cannot be reached, no node has what a worker needs, or workers die before
            they are ready.
        WeightsError: a worker cannot load the models.
    """

    def __init__(
        self, setup: BatchSetup, choice: RayOptions, on_taken: Callable[[list[Job]], None] | None = None
    ) -> None:
        self._setup = replace(
            setup,
            folder=Path(setup.folder).resolve(),
            weights=replace(setup.weights, folder=_absolute(setup.weights.folder)),
            signing=replace(
                setup.signing,
                certificate=_absolute(setup.signing.certificate),
                key=_absolute(setup.signing.key),
            ),
        )
        self._choice = choice.verify()
        self._on_taken = on_taken or (lambda jobs: None)

    def map(self, jobs: Sequence[Job], retries: int, on_running: OnRunning) -> JobResults:
        """As :meth:`job_queue.JobRunner.map`."""
        ray, choice = import_ray(), self._choice
        owned = not ray.is_initialized()
        if owned:
            _connect(ray, choice)
        workers: list[_Worker] = []
        try:
            gpus = _gpu_share(ray, choice, self._setup.base)
            kind = ray.remote(DubWorker).options(
                num_cpus=choice.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
            )

            def start() -> _Worker:
                actor = kind.remote(self._setup, max(1, int(choice.cpus)))
                return _Worker(actor, actor.ready.remote())

            workers += [start() for _ in range(_worker_count(ray, choice, gpus, len(jobs)))]
            yield from self._drive(ray, JobQueue(jobs, retries), workers, start, on_running)
        finally:
            for worker in workers:
                ray.kill(worker.actor)
            if owned:
                ray.shutdown()

    def _drive(
        self,
        ray: Any,
        queue: JobQueue,
        workers: list[_Worker],
        start: Callable[[], _Worker],
        on_running: OnRunning,
    ) -> JobResults:
        served, false_starts = time.monotonic(), 0
        while not queue.over:
            # hand out
            for worker in workers:
                if worker.started and worker.job is None and (job := queue.take()) is not None:
                    worker.run(job)
                    self._on_taken(queue.running)
            # take in what came back, and replace who died
            pending = {
                worker.call: worker for worker in workers if worker.job is not None or not worker.started
            }
            for call in ray.wait(list(pending), num_returns=1, timeout=POLL)[0]:
                worker = pending[call]
                was_started = worker.started
                alive, result = _settle(ray, queue, worker)
                if result is not None:
                    yield result
                false_starts = 0 if alive else false_starts + (not was_started)
                if false_starts >= MAX_FALSE_STARTS:
                    raise OptionsError(
                        f"{false_starts} workers in a row died while they loaded the models; start fewer "
                        "with --workers."
                    )
                if not alive:
                    workers[workers.index(worker)] = start()
            # show how far the others are
            for worker in workers:
                worker.look(ray)
            if any(worker.started for worker in workers):
                served = time.monotonic()
            starved = time.monotonic() - served >= PATIENCE
            note = "no worker can be placed: too few CPUs or GPUs are free" if starved else ""
            on_running({w.job.out: w.progress for w in workers if w.job is not None}, note)


@dataclass(eq=False)
class _Worker:
    """One actor as the driver sees it. call: what it was asked for last, ``ready`` or ``run``; question: for
    its progress, while no answer has come."""

    actor: Any
    call: Any
    started: bool = False
    job: Job | None = None
    question: Any = None
    progress: StageProgress = STARTING

    def run(self, job: Job) -> None:
        """Hand it a job."""
        self.job, self.call = job, self.actor.run.remote(job)
        self.progress, self.question = STARTING, None

    def look(self, ray: Any) -> None:
        """Ask it how far it is, without waiting for the answer."""
        if self.job is None:
            return
        if self.question is None:
            self.question = self.actor.progress.remote()
        elif ray.wait([self.question], timeout=0)[0]:
            try:
                self.progress = ray.get(self.question)
            except ray.exceptions.RayError:
                return  # it died: the job's own call tells
            self.question = None


def _settle(ray: Any, queue: JobQueue, worker: _Worker) -> tuple[bool, JobResult | None]:
    """Take in what came back: (whether the actor is alive, the result of a job that has ended for good)."""
    try:
        value = ray.get(worker.call)
    except ray.exceptions.RayTaskError:
        raise  # run_job lets nothing through: a bug
    except ray.exceptions.RayError as error:
        return False, queue.lose(worker.job, type(error).__name__) if worker.job is not None else None
    if worker.started:
        worker.job = None
        return True, queue.finish(JobResult(**value))
    host, trouble = value
    if trouble:
        raise WeightsError(f"A worker on {host} cannot start: {trouble}")
    worker.started = True
    return True, None


def _absolute(path: Path | None) -> Path | None:
    """Workers may run in another folder."""
    return None if path is None else Path(path).absolute()


def _connect(ray: Any, choice: RayOptions) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if choice.address is None:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        else:
            ray.init(address=choice.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"the Ray cluster at {choice.address}" if choice.address else "Ray on this machine"
        reason = " ".join(str(error).split())[:200]
        raise OptionsError(
            f"{where} cannot be reached ({reason}); check --address, or use --runner one-by-one."
        ) from error


def _gpu_share(ray: Any, choice: RayOptions, base: DubOptions) -> float:
    if choice.gpus is not None:
        return choice.gpus
    return 1.0 if base.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def _worker_count(ray: Any, choice: RayOptions, gpus: float, jobs: int) -> int:
    """As many as were asked for, else as fit the nodes; never more than jobs.

    Raises:
        OptionsError: none fits.
    """
    fits = 0
    for node in ray.nodes():
        if node["Alive"]:
            have = node["Resources"]
            by_cpu = int(have.get("CPU", 0) / choice.cpus + 1e-9)
            fits += min(by_cpu, int(have.get("GPU", 0) / gpus + 1e-9)) if gpus else by_cpu
    if fits == 0:
        share = f"{choice.cpus:g} CPUs and {gpus:g} GPUs"
        raise OptionsError(f"No node has {share} for a worker; lower --cpus-per-worker or --gpus-per-worker.")
    return max(1, min(choice.workers or fits, jobs))
