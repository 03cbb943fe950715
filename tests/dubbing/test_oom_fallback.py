"""Memory that runs out: smaller windows, then the CPU, each with a warning, and the same pictures."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from personatalk_core.dubbing import oom_fallback as memory_fallback
from personatalk_core.dubbing.oom_fallback import (
    CPU,
    LEAST_SPEECH,
    BatchRunner,
    OutOfMemory,
    on_cpu,
    speak_with_oom_fallback,
)
from personatalk_core.errors import MemoryLimitError
from personatalk_core.speech.lip_sync import SpeechWindows

GPU = torch.device("cpu", 0)  # not equal to the plain CPU, yet there on every machine: plays the GPU


@pytest.fixture(autouse=True)
def one_thread():
    """One core takes a whole window as one chunk, so that a job sees the windows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def memory(device: torch.device = GPU, frames: int = 8) -> BatchRunner:
    face_model = SimpleNamespace(to=lambda where: face_model)
    renderer = nn.Linear(2, 2)
    models = SimpleNamespace(
        need_renderer=lambda: renderer, device=device, dtype=torch.float32, face_model=face_model
    )
    return BatchRunner(models, frames)


def test_windows_shrink_until_they_fit_and_stay_so():
    room, tried = 3, []
    held = memory()

    def job(window):
        tried.append(len(window))
        if len(window) > room:
            raise OutOfMemory("simulated")
        return list(window)

    assert held.run_with_oom_fallback(list(range(10)).__getitem__, 10, 64, job) == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [8, 9],
    ]
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert held.run_with_oom_fallback(list(range(3)).__getitem__, 3, 64, job) == [[0, 1], [2]]
    assert held.device == GPU
    assert [("windows of 4" in w, "windows of 2" in w) for w in held.warnings] == [
        (True, False),
        (False, True),
    ]


def test_then_the_cpu_with_a_copy_of_the_network():
    held = memory()
    network = held.renderer

    def job(window):
        if held.device != CPU:
            raise OutOfMemory("simulated")
        return len(window)

    assert held.run_with_oom_fallback(list(range(8)).__getitem__, 8, 64, job) == [8]
    assert held.device == CPU
    assert "went on on the CPU" in held.warnings[-1]
    assert held.renderer is not network
    assert torch.equal(held.renderer.weight, network.weight)


def test_not_even_one_frame_on_the_cpu_is_one_sentence():
    def job(window):
        raise OutOfMemory("simulated")

    with pytest.raises(MemoryLimitError, match="single frame"):
        memory(CPU).run_with_oom_fallback(list(range(4)).__getitem__, 4, 64, job)


def test_a_copy_on_the_cpu_shares_nothing():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    twin = on_cpu(network)
    with torch.no_grad():
        twin[0].weight.fill_(3.0)
        twin[1].running_mean.fill_(3.0)
    assert bool((network[0].weight < 3).all()) and bool((network[1].running_mean == 0).all())


class Cramped(nn.Module):
    """A renderer on a device with room for ``room`` frames; its copy on the CPU has room for all."""

    def __init__(self, renderer: nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room = renderer, room

    def __deepcopy__(self, memo: dict) -> nn.Module:
        return copy.deepcopy(self.inner, memo)

    @staticmethod
    def limited(function):
        """Encoding or rendering that asks a cramped renderer for room first."""

        def call(renderer, frames, *arguments):
            if not isinstance(renderer, Cramped):
                return function(renderer, frames, *arguments)
            if len(frames) > renderer.room:
                raise OutOfMemory("simulated")
            return function(renderer.inner, frames, *arguments)

        return call


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A short clip, its geometry speaking, and what renders it."""
    from personatalk_core import pipeline
    from personatalk_core.config import DubOptions
    from personatalk_core.dubbing.run import Run
    from personatalk_core.media.array_files import write_frames
    from personatalk_core.media.video_reader import probe
    from personatalk_core.models import load_models
    from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames

    video = write_frames(tmp_path_factory.mktemp("clip") / "clip.mp4", sample_frames()[:14], 14, 15)
    options = DubOptions(device="cpu", lip_references=4, face_references=1)
    models, info = load_models(options), probe(video)
    run = Run(models, options)
    geometry = pipeline.estimate_geometry(info, run)
    target = pipeline.animate(geometry, DEMO_SPEECH, run)
    return info, target, pipeline.render(info, target, run).references, models, options


@pytest.mark.parametrize(
    "room, warnings", [(1, ["windows of 2"]), (0, ["windows of 2", "windows of 1", "on the CPU"])]
)
def test_pictures_are_the_same_within_a_level(scene, room, warnings, monkeypatch):
    from personatalk_core.dubbing.frame_renderer import FrameRenderer
    from personatalk_core.dubbing.run import Run
    from personatalk_core.dubbing.write_dub import paste

    info, target, references, models, options = scene
    for name in ("encode_chunk", "render_chunk"):
        monkeypatch.setattr(FrameRenderer, name, staticmethod(Cramped.limited(getattr(FrameRenderer, name))))

    def pictures(models) -> tuple[np.ndarray, list[str]]:
        renderer = FrameRenderer(info, target, references, Run(models, options))
        return np.stack([paste(item, 1.0)[0] for item in renderer.frames([range(3)])]), renderer.warnings

    whole, quiet = pictures(models)
    cramped, said = pictures(replace(models, renderer=Cramped(models.renderer, room), device=GPU))
    assert not quiet
    assert all(any(w in sentence for sentence in said) for w in warnings)
    assert np.abs(whole.astype(int) - cramped).max() <= 1


@pytest.fixture(scope="module")
def heard():
    """Networks, and 22 s of sound."""
    from personatalk_core.speech.networks import load_speech_networks

    return load_speech_networks(), torch.from_numpy(
        np.random.default_rng(2).normal(0, 0.1, 16_000 * 22).astype(np.float32)
    )


def test_speech_goes_on_with_shorter_windows_then_on_the_cpu(heard, tmp_path):
    """The windows that were kept before memory ran out are not trusted to be of the new length, and the words
    stay the same."""
    from personatalk_core.dubbing.run_cache import RunCache
    from personatalk_core.speech.lip_sync import predict_expression

    networks, sound = heard
    style, template = networks.lip_sync.style.average, torch.zeros(networks.lip_sync.config.vertices, 3)
    tried = []

    def say(networks, windows, limit=LEAST_SPEECH):
        frames = windows.inner_frames
        tried.append(frames)

        def room(done, total):
            if frames > limit and done > frames - 1:
                raise OutOfMemory("simulated")

        windows = replace(windows, on_progress=room)
        return predict_expression(sound, 550, style, template, networks, windows)

    usual, warnings = speak_with_oom_fallback(partial(say, limit=9999), networks, SpeechWindows())
    assert not warnings
    tried.clear()
    with RunCache(tmp_path / "work", {}) as cache:
        shorter, warnings = speak_with_oom_fallback(say, networks, SpeechWindows(cache=cache))
    assert tried == [4 * LEAST_SPEECH, LEAST_SPEECH]
    assert len(warnings) == 1 and f"windows of {LEAST_SPEECH} frames" in warnings[0]
    assert (shorter - usual).abs().max() < 1e-4


def test_speech_ends_on_the_cpu_with_copies_of_the_networks(heard, monkeypatch):
    # so that the plain CPU, where the networks are, plays the GPU
    monkeypatch.setattr(memory_fallback, "CPU", GPU)
    networks, tried = heard[0], []

    def say(networks, windows):
        tried.append(windows.inner_frames)
        if networks is heard[0]:
            raise OutOfMemory("simulated")
        return networks

    used, warnings = speak_with_oom_fallback(say, networks, SpeechWindows())
    assert tried == [4 * LEAST_SPEECH, LEAST_SPEECH, LEAST_SPEECH]
    assert len(warnings) == 2 and "on the CPU" in warnings[1]
    assert used.lip_sync is not networks.lip_sync and used.audio_encoder is not networks.audio_encoder
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            used.lip_sync.state_dict().values(), networks.lip_sync.state_dict().values(), strict=True
        )
    )


def test_speech_that_fits_nowhere_is_one_sentence(heard):
    def never(networks, windows):
        raise OutOfMemory("simulated")

    with pytest.raises(MemoryLimitError, match="over 125 frames of speech"):
        speak_with_oom_fallback(never, heard[0], SpeechWindows())
