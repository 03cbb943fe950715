"""A long track: its readings lie on disk, memory grows by what is small, and a run that stopped goes on with
the next frame."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from personatalk_core.tracking import track as tracking
from personatalk_core.tracking.landmarks import FaceLandmarker, FaceReading
from personatalk_core.tracking.track import track_face
from personatalk_core.types import ClipFrames, FrameStatus

SIZE = (48, 64)
FACE = np.random.default_rng(0).uniform(8, 40, (478, 3)).astype(np.float32)
MOST_BYTES_A_FRAME = 400  # landmarks alone would be 5736


class Puppet(FaceLandmarker):
    """Finds one face in every frame but the black ones, shifted a little by the frame's own brightness."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        return np.array([[24.0, 24.0, 36.0, 0.9]]) if pixels.any() else np.zeros((0, 4))

    def read(self, frame, box, *, several=False):
        self.calls += 1
        if not frame.any():
            return []
        shift = float(frame[0, 0, 0]) / 255
        colours = np.full((468, 3), 100 + shift, np.float32) + np.arange(468)[:, None] % 50
        return [
            FaceReading(FACE + shift, np.full(52, shift, np.float32), colours.astype(np.float32), (0.0, 0.0))
        ]


def frames(count: int, first: int = 0, black: range = range(0)):
    for number in range(first, count):
        yield np.full((*SIZE, 3), 0 if number in black else 100 + number % 100, np.uint8)


class Store:
    """Keeps states in memory and files in a folder."""

    window: int | None = None

    def __init__(self, folder) -> None:
        self.folder, self.kept = folder, {}

    def path(self, name):
        return self.folder / name

    def save(self, name, tensors, config=None):
        self.kept[name] = SimpleNamespace(tensors={n: t.clone() for n, t in tensors.items()}, config=config)

    def load(self, name):
        return self.kept.get(name)


def track(count: int, cache=None, source=None, **choices):
    source = source or (lambda first: frames(count, first, choices.pop("black", range(0))))
    return track_face(ClipFrames(source, np.arange(count) / 25, SIZE), landmarker=Puppet(), cache=cache)


def test_on_disk_is_as_in_memory(tmp_path):
    black = range(20, 25)
    inside = track(60, source=lambda first: frames(60, first, black))
    outside = track(60, Store(tmp_path), lambda first: frames(60, first, black))
    assert (inside.status == outside.status).all()
    assert (inside.status[list(black)] != FrameStatus.OK).all()
    assert np.array_equal(inside.landmarks, outside.landmarks[:])
    assert np.array_equal(inside.landmarks[18:30:3], outside.landmarks[18:30:3])
    assert np.array_equal(inside.blendshapes[22], outside.blendshapes[22])
    assert np.array_equal(np.asarray(inside.blendshapes), np.asarray(outside.blendshapes))


@pytest.mark.parametrize("stop", [3, 10, 11, 37, 59])
def test_a_stopped_run_goes_on_with_the_frames_after_its_last_state(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(tracking, "KEEP_EVERY", 10)
    whole, cache, read = track(60), Store(tmp_path), []

    def until_stop(first):
        for number, frame in enumerate(frames(60, first), start=first):
            if number == stop:
                raise KeyboardInterrupt
            yield frame

    with pytest.raises(KeyboardInterrupt):
        track(60, cache, until_stop)

    def watched(first):
        read.append(first)
        return frames(60, first)

    again = track(60, cache, watched)
    assert read == [stop // 10 * 10]
    assert np.array_equal(whole.landmarks, again.landmarks[:])
    assert np.array_equal(whole.status, again.status) and np.array_equal(whole.shot, again.shot)


def test_memory_grows_by_what_is_small(tmp_path):
    def growth(cache) -> float:
        """Bytes a frame between frame 300 and frame 1500."""
        marks = {}

        def watched(first):
            for number, frame in enumerate(frames(1501, first), start=first):
                if number in (300, 1500):
                    marks[number] = tracemalloc.get_traced_memory()[0]
                yield frame

        tracemalloc.start()
        try:
            track(1501, cache, watched)
        finally:
            tracemalloc.stop()
        return (marks[1500] - marks[300]) / 1200

    class Quiet(Store):
        def save(self, name, tensors, config=None):
            """The real store writes to disk."""

    assert growth(Quiet(tmp_path)) < MOST_BYTES_A_FRAME
    assert growth(None) > 5000  # the measure sees what is kept
