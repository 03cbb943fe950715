"""How jobs are handed to actors, with a stand-in for Ray in which every event is decided by the test."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from personatalk_core.batch import job, ray_runner
from personatalk_core.batch.job import BatchSetup, JobResult
from personatalk_core.batch.manifest import Job
from personatalk_core.batch.ray_runner import DubWorker, RayOptions, RayRunner
from personatalk_core.config import DubOptions
from personatalk_core.errors import OptionsError, WeightsError


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class ActorDiedError(RayError):
    pass


class Reference:
    def __init__(self, actor, name, job=None):
        self.actor, self.name, self.job = actor, name, job


class FakeRay:
    """``decide(reference)`` -> a value, an exception to raise, or None for not yet."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, decide, cpus=4.0, gpus=0.0, nodes=1):
        self.decide, self.started, self.killed, self.busy, self.most = decide, [], [], {}, 0
        self._nodes = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for _ in range(nodes)]
        self._values = {}

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"GPU": sum(node["Resources"]["GPU"] for node in self._nodes)}

    def nodes(self):
        return self._nodes

    def remote(self, _):
        def start(*arguments):
            actor = SimpleNamespace(number=len(self.started))
            for name in ("ready", "progress"):
                setattr(actor, name, SimpleNamespace(remote=lambda name=name: Reference(actor, name)))
            actor.run = SimpleNamespace(remote=lambda job: self._run(actor, job))
            self.started.append(actor)
            return actor

        self.options_given = []
        return SimpleNamespace(
            options=lambda **given: self.options_given.append(given) or SimpleNamespace(remote=start)
        )

    def _run(self, actor, job):
        assert actor.number not in self.busy, "a second job for a busy actor"
        self.busy[actor.number] = job
        self.most = max(self.most, len(self.busy))
        return Reference(actor, "run", job)

    def wait(self, references, num_returns=1, timeout=None):
        ready = []
        for reference in references:
            value = self._values.get(reference)
            if value is None:
                value = ("rendering", 1, 2) if reference.name == "progress" else self.decide(reference)
            if value is not None:
                self._values[reference] = value
                ready.append(reference)
        return ready[:num_returns], []

    def get(self, reference):
        value = self._values[reference]
        if reference.name == "run":
            del self.busy[reference.actor.number]
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self, actor):
        self.killed.append(actor.number)


def done(job):
    return asdict(JobResult(out=job.out, line=job.line, status="done"))


@pytest.fixture
def run(monkeypatch, tmp_path):
    def go(decide, count=6, choice=RayOptions(cpus=1.0), **cluster):  # noqa: B008
        ray = FakeRay(decide, **cluster)
        monkeypatch.setattr(ray_runner, "import_ray", lambda: ray)
        jobs = [Job(n, Path("v"), Path("a"), f"{n}.mp4") for n in range(1, count + 1)]
        runner = RayRunner(BatchSetup(tmp_path, DubOptions()), choice)
        return ray, list(runner.map(jobs, 0, lambda running, note: None))

    return go


def answer(reference):
    return ("host", "") if reference.name == "ready" else done(reference.job)


@pytest.mark.parametrize("workers,expected", [(None, 4), (2, 2), (9, 6)])
def test_as_many_actors_as_fit_were_asked_for_or_are_needed(run, workers, expected):
    ray, left = run(answer, choice=RayOptions(cpus=1.0, workers=workers))
    assert len(ray.started) == expected and sorted(ray.killed) == list(range(expected))
    assert sorted(result.line for result in left) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "share,gpus,expected", [(None, 2.0, 2), (0.5, 2.0, 4), (0.25, 1.0, 4), (0.0, 0.0, 6), (None, 0.0, 6)]
)
def test_actors_share_gpus_as_they_were_told(run, share, gpus, expected):
    ray, _ = run(answer, choice=RayOptions(cpus=0.5, gpus=share), gpus=gpus, cpus=8.0)
    assert len(ray.started) == expected
    assert ray.options_given[0]["num_gpus"] == (share if share is not None else (1.0 if gpus else 0.0))


def test_a_job_waits_until_an_actor_has_started(run):
    """The second actor never gets its CPUs: all jobs go through the first, and nothing is lost in the queue
    of the second."""
    ray, left = run(
        lambda r: None if r.actor.number == 1 else answer(r), choice=RayOptions(cpus=1.0, workers=2)
    )
    assert len(left) == 6 and ray.most == 1


@pytest.mark.parametrize("seed", range(20))
def test_actors_that_die_at_any_moment_lose_no_job_and_repeat_none(run, seed):
    chance = random.Random(seed)

    def decide(reference):
        kind = chance.random()
        if kind < 0.3:
            return None
        return ActorDiedError() if kind < 0.45 and reference.actor.number < 12 else answer(reference)

    ray, left = run(decide, count=10)
    assert sorted(result.line for result in left) == list(range(1, 11))
    assert all(result.status == "done" or "died" in result.error for result in left)
    assert set(ray.killed) <= set(range(len(ray.started)))


def test_a_worker_that_cannot_load_the_models_ends_the_batch_with_its_sentence(run):
    with pytest.raises(WeightsError, match="on host cannot start: the renderer is missing"):
        run(lambda r: ("host", "the renderer is missing"))


def test_workers_that_die_while_they_start_end_the_batch(run):
    with pytest.raises(OptionsError, match="workers in a row died"):
        run(lambda r: ActorDiedError())


def test_a_cluster_without_room_for_one_worker_is_refused(run):
    with pytest.raises(OptionsError, match="No node has 8 CPUs"):
        run(answer, choice=RayOptions(cpus=8.0), nodes=2)
    with pytest.raises(OptionsError, match="GPUs"):
        run(answer, choice=RayOptions(cpus=1.0, gpus=1.0))


def test_a_worker_loads_its_models_once(monkeypatch, tmp_path):
    loads, ran = [], []
    monkeypatch.setattr(job, "load_models", lambda *_, **__: loads.append(1) or "models")

    def run_job(job, setup, models, signer, progress):
        ran.append((job.out, models, signer))
        progress.stage("rendering")(3, 8)
        return JobResult(out=job.out, line=job.line, status="done")

    monkeypatch.setattr(ray_runner, "run_job", run_job)
    worker = DubWorker(BatchSetup(tmp_path, DubOptions()), 1)
    assert worker.ready()[1] == ""
    for name in ("a.mp4", "b.mp4"):
        assert worker.run(Job(1, Path("v"), Path("a"), name))["out"] == name
    assert len(loads) == 1 and ran == [("a.mp4", "models", None), ("b.mp4", "models", None)]
    assert worker.progress() == ("rendering", 3, 8)
    monkeypatch.setattr(job, "load_models", lambda *_, **__: (_ for _ in ()).throw(WeightsError("gone")))
    assert DubWorker(BatchSetup(tmp_path, DubOptions()), 1).ready()[1] == "gone"
