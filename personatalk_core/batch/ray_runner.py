"""The same jobs on Ray: actors that load the models once, on this machine or on a cluster.

Ray is imported here only, inside functions. What travels between processes is text and numbers. At most one
job is under way on an actor, and none is handed to an actor that has not started, so nothing piles up; an
actor that dies gives its job back.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..config import DubOptions
from ..dubbing.progress import Progress
from ..errors import DependencyError, OptionsError, PersonaTalkError, WeightsError
from ..media.content_credentials import SigningChoice
from ..models import load_models
from ..weights.resolver import HubSource
from .batch_view import BatchView
from .job import JobResult, run_job
from .job_queue import JobQueue
from .manifest import Job

OBJECT_STORE = (
    80 << 20
)  # bytes: results are a few hundred bytes, so Ray's default of 30 % of the memory would be waste
POLL = 1.0  # seconds between two looks at the progress of running jobs
PATIENCE = 60.0  # seconds without any worker before the view says so
STARTING = ("starting", 0, 1)
MAX_FALSE_STARTS = 5  # workers in a row that die before they are ready


@dataclass(frozen=True)
class RayOptions:
    """Where and how widely to run.

    address: of a cluster; None starts Ray on this machine for the time of the batch.  workers: actors; None
        as many as fit.
    cpus, gpus: what each holds; gpus None: 1 where the cluster has GPUs and ``device`` is not cpu, else 0;
        0.5 puts two on a GPU.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 2.0
    gpus: float | None = None

    def verify(self) -> "RayOptions":
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


@dataclass(frozen=True)
class WeightsChoice:
    """Where each actor takes its weights from; as :func:`models.load_models`."""

    folder: Path | None = None
    hub: HubSource | None = None
    offline: bool = False


def ray_is_installed() -> bool:
    """Whether the extra is there, without importing it."""
    from importlib.util import find_spec

    return find_spec("ray") is not None


def import_ray():
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

    def __init__(
        self, options: dict, folder: str, weights: WeightsChoice, signing: SigningChoice, threads: int
    ) -> None:
        self._base, self._folder, self._weights, self._threads = (
            DubOptions(**options),
            Path(folder),
            weights,
            threads,
        )
        self._signing, self._signer, self._models = signing, None, None
        self._progress = STARTING

    def ready(self) -> tuple[str, str]:
        """Load the models. Returns the host and, where they cannot be loaded, the sentence."""
        try:
            import torch

            torch.set_num_threads(self._threads)
            self._signer = self._signing.signer()
            where = self._weights
            self._models = load_models(self._base, folder=where.folder, hub=where.hub, offline=where.offline)
        except PersonaTalkError as error:
            return socket.gethostname(), str(error)
        return socket.gethostname(), ""

    def progress(self) -> tuple[str, int, int]:
        """Stage, steps done, steps in all."""
        return self._progress

    def run(self, job: Job) -> dict:
        """Run one job; returns the fields of its JobResult."""
        worker = self

        class Watched(Progress):
            def show(self, name: str, done: int, total: int) -> None:
                worker._progress = (name, done, total)

        self._progress = STARTING
        return asdict(run_job(job, self._folder, self._models, self._base, Watched(), self._signer))


@dataclass(eq=False)
class _Seat:
    """One actor and what it is doing. reference: of what it was asked for last, ``ready`` or ``run``."""

    actor: object
    reference: object
    started: bool = False
    job: Job | None = None
    asked: object = None
    progress: tuple[str, int, int] = STARTING


def run_on_ray(
    queue: JobQueue,
    folder: Path,
    base: DubOptions,
    weights: WeightsChoice,
    choice: RayOptions,
    view: BatchView,
    *,
    signing: SigningChoice = SigningChoice(),  # noqa: B008 (frozen)
    on_taken: Callable[[list[Job]], None] | None = None,
) -> None:
    """Run a queue until it is empty.

    Args:
        folder:   output folder; on a cluster every node must see it, and the inputs, under the same path.
        signing:  with what to sign; every node must see these files too.
        on_taken: called when a job was handed to an actor, with all that are under way, the new one last.
    Raises:
        DependencyError: Ray is not installed. OptionsError: the cluster cannot be reached, no node has what a
        worker needs, or workers die before they are ready. WeightsError: a worker cannot load the models.
    """
    ray = import_ray()
    choice.verify()
    owned = not ray.is_initialized()
    if owned:
        _connect(ray, choice)
    seats: list[_Seat] = []
    try:
        gpus = _gpu_share(ray, choice, base)
        kind = ray.remote(DubWorker).options(
            num_cpus=choice.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )
        weights = replace(weights, folder=_absolute(weights.folder))
        signing = replace(signing, certificate=_absolute(signing.certificate), key=_absolute(signing.key))
        arguments = (asdict(base), str(Path(folder).resolve()), weights, signing, max(1, int(choice.cpus)))

        def new_seat() -> _Seat:
            actor = kind.remote(*arguments)
            return _Seat(actor, actor.ready.remote())

        seats += [new_seat() for _ in range(_worker_count(ray, choice, gpus, queue.waiting))]
        _drive(ray, queue, seats, new_seat, view, on_taken or (lambda jobs: None))
    finally:
        for seat in seats:
            ray.kill(seat.actor)
        if owned:
            ray.shutdown()


def _drive(
    ray, queue: JobQueue, seats: list[_Seat], new_seat: Callable[[], _Seat], view: BatchView, on_taken
) -> None:
    served, false_starts = time.monotonic(), 0
    while not queue.over:
        for seat in seats:
            if seat.started and seat.job is None and (job := queue.take()) is not None:
                seat.job, seat.reference, seat.progress, seat.asked = (
                    job,
                    seat.actor.run.remote(job),
                    STARTING,
                    None,
                )
                on_taken(queue.running)
        pending = {seat.reference: seat for seat in seats if seat.job is not None or not seat.started}
        for reference in ray.wait(list(pending), num_returns=1, timeout=POLL)[0]:
            seat = pending[reference]
            was_started = seat.started
            if _settle(ray, queue, seat):
                false_starts = 0
                continue
            false_starts += not was_started
            if false_starts >= MAX_FALSE_STARTS:
                raise OptionsError(
                    f"{false_starts} workers in a row died while they loaded the models; start fewer "
                    "with --workers."
                )
            seats[seats.index(seat)] = new_seat()
        for seat in seats:
            _look(ray, seat)
        served = time.monotonic() if any(seat.started for seat in seats) else served
        note = (
            ""
            if time.monotonic() - served < PATIENCE
            else "no worker can be placed: too few CPUs or GPUs are free"
        )
        view.show(queue, {seat.job.out: seat.progress for seat in seats if seat.job is not None}, note)


def _settle(ray, queue: JobQueue, seat: _Seat) -> bool:
    """Take in what came back; False where the actor is dead."""
    try:
        value = ray.get(seat.reference)
    except ray.exceptions.RayTaskError:
        raise  # run_job lets nothing through: a bug
    except ray.exceptions.RayError as error:
        if seat.job is not None:
            queue.lose(seat.job, type(error).__name__)
        return False
    if not seat.started:
        host, trouble = value
        if trouble:
            raise WeightsError(f"A worker on {host} cannot start: {trouble}")
        seat.started = True
    else:
        queue.finish(JobResult(**value))
        seat.job = None
    return True


def _look(ray, seat: _Seat) -> None:
    """Ask a busy actor how far it is, without waiting for the answer."""
    if seat.job is None:
        return
    if seat.asked is None:
        seat.asked = seat.actor.progress.remote()
    elif ray.wait([seat.asked], timeout=0)[0]:
        try:
            seat.progress = ray.get(seat.asked)
        except ray.exceptions.RayError:
            return  # it died: the job's own reference tells
        seat.asked = None


def _absolute(path: Path | None) -> Path | None:
    """Workers may run in another folder."""
    return None if path is None else Path(path).absolute()


def _connect(ray, choice: RayOptions) -> None:
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


def _gpu_share(ray, choice: RayOptions, base: DubOptions) -> float:
    if choice.gpus is not None:
        return choice.gpus
    return 1.0 if base.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def _worker_count(ray, choice: RayOptions, gpus: float, jobs: int) -> int:
    """As many as were asked for, else as fit the nodes; never more than jobs. Raises OptionsError: none
    fits."""
    fits = 0
    for node in ray.nodes():
        if node["Alive"]:
            have = node["Resources"]
            by_cpu = int(have.get("CPU", 0) / choice.cpus + 1e-9)
            fits += min(by_cpu, int(have.get("GPU", 0) / gpus + 1e-9)) if gpus else by_cpu
    if fits == 0:
        wanted = f"{choice.cpus:g} CPUs and {gpus:g} GPUs"
        raise OptionsError(
            f"No node has {wanted} for a worker; lower --cpus-per-worker or --gpus-per-worker."
        )
    return max(1, min(choice.workers or fits, jobs))
