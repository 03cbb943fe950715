"""Ray on a local two-node cluster: one node is killed while it works, and still every job is done exactly
once."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec

import av
import pytest

from personatalk_core.batch.ray_runner import RayOptions
from personatalk_core.batch.run_batch import BatchOptions, run_batch
from personatalk_core.config import DubOptions
from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra 'batch')")
BASE = DubOptions(device="cpu", lip_references=4, face_references=1)
STORE = 80 << 20
QUICK = {
    f"health_check_{name}": value
    for name, value in (("initial_delay_ms", 0), ("period_ms", 500), ("failure_threshold", 2))
}


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "_system_config": QUICK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def clips(tmp_path):
    """Three short clips of the sample, nine frames each."""
    frames = sample_frames("woman")
    for number in range(3):
        with av.open(str(tmp_path / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=15, options={"crf": "10", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = 350, 350, "yuv444p"
            for frame in frames[number * 8 : number * 8 + 9]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    path = tmp_path / "jobs.jsonl"
    entries = [{"video": f"{n}.mp4", "audio": str(DEMO_SPEECH), "out": f"{n}.mp4"} for n in range(3)]
    path.write_text(
        "".join(
            json.dumps(e) + "\n" for e in [*entries, {**entries[0], "video": "gone.mp4", "out": "gone.mp4"}]
        )
    )
    return path


def test_a_killed_node_loses_no_job_and_repeats_none(cluster, clips, tmp_path):
    second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    taken, killed = [], []

    def kill_when_both_work(running):
        taken.append(running[-1].out)
        if len(running) == 2 and not killed:
            killed.append(cluster.remove_node(second, allow_graceful=False))

    choice = RayOptions(address=cluster.address, cpus=1.0)
    options = BatchOptions("ray", choice, retries=1, quiet=True, on_taken=kill_when_both_work)
    summary = run_batch(clips, tmp_path / "ray", BASE, options)
    lines = [json.loads(line) for line in (tmp_path / "ray" / "results.jsonl").read_text().splitlines()]
    assert Counter(entry["out"] for entry in lines) == Counter(["0.mp4", "1.mp4", "2.mp4", "gone.mp4"])
    assert {entry["out"]: entry["status"] for entry in lines} == {
        **{f"{n}.mp4": "done" for n in range(3)},
        "gone.mp4": "failed",
    }
    assert sum(entry["lost"] for entry in lines) == 1, "the node died with one job under way"
    # three good jobs, one of them twice for the dead node, and the failing one with its retry
    assert len(taken) == 3 + 1 + 2
    assert (summary.done, len(summary.failed)) == (3, 1) and "does not exist" in summary.failed[0].error

    again = next(entry["out"] for entry in lines if entry["lost"])
    one = clips.with_name("one.jsonl")
    one.write_text(
        next(line for line in clips.read_text().splitlines() if f'"out": "{again}"' in line) + "\n"
    )
    plain = BatchOptions("one-by-one", choice, quiet=True)
    assert run_batch(one, tmp_path / "plain", BASE, plain).done == 1
    assert (tmp_path / "ray" / again).read_bytes() == (tmp_path / "plain" / again).read_bytes(), (
        "another file without Ray"
    )
