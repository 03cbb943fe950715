"""A whole batch: the manifest is read, what is finished is kept, the rest runs, and what failed is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import DubOptions
from ..errors import OptionsError
from ..media.content_credentials import SigningChoice
from ..models import PARTS, load_models
from ..weights.resolver import resolve_weights
from .batch_view import BatchView
from .job import FAILED, JobResult, is_finished
from .job_queue import JobQueue
from .manifest import Job, read_manifest
from .one_by_one import run_one_by_one
from .ray_runner import RayOptions, WeightsChoice, import_ray, ray_is_installed, run_on_ray
from .results import ResultsFile

RUNNERS = ("auto", "ray", "one-by-one")


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
    *,
    weights: WeightsChoice = WeightsChoice(),  # noqa: B008 (frozen)
    runner: str = "auto",
    ray_options: RayOptions = RayOptions(),  # noqa: B008 (frozen)
    signing: SigningChoice = SigningChoice(),  # noqa: B008 (frozen)
    retries: int = 0,
    quiet: bool = False,
    on_taken: Callable[[list[Job]], None] | None = None,
) -> BatchSummary:
    """Run every job of a manifest exactly once.

    Args:
        manifest: JSON Lines; README.md beside this file lists the fields.
        folder:   where outputs, reports and results.jsonl go.
        base:     device, number format and defaults of all jobs.
        runner:   ``auto`` takes Ray where it is installed; the files are the same either way.
        signing:  with what to sign each file; nothing is signed without a certificate.
        retries:  further attempts after a failed one, >= 0.
    Returns:
        What happened; failed jobs raise nothing here.
    Raises:
        OptionsError: the manifest or a choice is wrong; nothing has run. WeightsError, DependencyError: as
            their stages.
    """
    if runner not in RUNNERS:
        raise OptionsError(f"runner is '{runner}' but expected one of {', '.join(RUNNERS)}.")
    if retries < 0:
        raise OptionsError(f"retries is {retries} but expected 0 or more.")
    on_ray = runner == "ray" or (runner == "auto" and (ray_is_installed() or ray_options.address is not None))
    if on_ray:
        import_ray()
        ray_options.verify()
    signer = signing.signer()
    jobs = read_manifest(manifest, base.verify())
    places = {"folder": weights.folder, "hub": weights.hub, "offline": weights.offline}
    hashes = {name: resolve_weights(name, **places).sha256 for name in PARTS}
    with ResultsFile(folder) as results:
        kept, left = _split(jobs, results, Path(folder), base, hashes, signer is not None)
        failed: list[JobResult] = []

        def on_result(result: JobResult) -> None:
            results.append(result)
            if result.status == FAILED:
                failed.append(result)

        queue = JobQueue(left, retries, on_result)
        view = BatchView(len(jobs), skipped=len(kept), quiet=quiet)
        try:
            if left and on_ray:
                run_on_ray(
                    queue, Path(folder), base, weights, ray_options, view, signing=signing, on_taken=on_taken
                )
            elif left:
                with _threads(max(1, int(ray_options.cpus))):
                    run_one_by_one(queue, Path(folder), load_models(base, **places), base, view, signer)
        finally:
            view.close()
    return BatchSummary(len(jobs), len(kept), queue.done, tuple(sorted(failed, key=lambda r: r.line)))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads as a worker of Ray has: the last bits of a sum depend on how it is shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split(
    jobs: list[Job],
    results: ResultsFile,
    folder: Path,
    base: DubOptions,
    weights: dict[str, str],
    signed: bool,
):
    """(jobs that an earlier run finished, jobs to run); results.jsonl keeps the lines of the former and of
    other manifests' jobs."""
    known = results.read()
    kept = [job for job in jobs if is_finished(job, known.get(job.out), folder, base, weights, signed)]
    left = {job.out for job in jobs} - {job.out for job in kept}
    results.keep(result for out, result in known.items() if out not in left)
    return kept, [job for job in jobs if job.out in left]
