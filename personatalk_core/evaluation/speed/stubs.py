"""Networks that cost next to nothing, for measuring what the length of a clip costs: only what surrounds the
networks is timed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields

import numpy as np

from ... import models as loading
from ...dubbing import frame_renderer, write_dub
from ...geometry import fitting, initialisation
from ...geometry.clip_solver import solve_clip
from ...geometry.face_model import FaceModel
from ...models import Models
from ...rendering.batch import EncodedReferences, ReferenceFrames, RenderedCrops, Targets
from ...tracking import track
from ...tracking.landmarks import FaceLandmarker, FaceReading

REMEMBERED = 1000  # readings; the benchmark's clip repeats after 110 frames


class RememberingLandmarker(FaceLandmarker):
    """Reads a crop of a frame that it has met before from memory: in a clip that repeats, the networks run in
    the first round only."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._known: OrderedDict[tuple, object] = OrderedDict()

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        """As FaceLandmarker."""
        key = ("detect", pixels.shape, hash(pixels[::8, ::8].tobytes()))
        return self._once(key, lambda: FaceLandmarker.detect(self, pixels))

    def read(
        self, frame: np.ndarray, box: tuple[float, float, float], *, several: bool = False
    ) -> list[FaceReading]:
        """As FaceLandmarker."""
        key = ("read", tuple(round(v, 1) for v in box), several, hash(frame[::8, ::8].tobytes()))
        return self._once(key, lambda: FaceLandmarker.read(self, frame, box, several=several))

    def _once(self, key: tuple, call):
        if key not in self._known:
            self._known[key] = call()
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]


def encode_nothing(renderer: object, frames: ReferenceFrames, face_model: FaceModel) -> EncodedReferences:
    """The crops as they are; nothing is encoded."""
    crops, points = frames.crops, frames.points
    given = {"pixels": crops, "points": points, "visibility": points.new_ones(points.shape[:2])}
    encoded = {f.name: crops.new_zeros(len(crops), 1) for f in fields(EncodedReferences)}
    return EncodedReferences(**(encoded | given))


def render_grey(
    renderer: object, targets: Targets, lip: EncodedReferences, face: EncodedReferences, face_model: FaceModel
) -> RenderedCrops:
    """(B, 3, R, R) of grey."""
    grey = targets.points.new_full((len(targets), *lip.pixels.shape[1:]), 0.5)
    return RenderedCrops(grey, grey[:, :1] * 0, grey[:, :1] * 0)


def without_networks(models: Models) -> Models:
    """Models as they are; this process tracks, fits and renders with stubs from now on."""
    loading.FaceLandmarker = RememberingLandmarker
    fitting.solve_clip = lambda *arguments, **choices: solve_clip(*arguments, **(choices | {"steps": 1}))
    frame_renderer.encode_chunk, frame_renderer.render_chunk = encode_nothing, render_grey
    return models


def small_windows(frames: int) -> None:
    """Keep work every so many frames instead of every few seconds, so that seconds of video stand for
    minutes; for this process."""
    write_dub.SEGMENT = track.KEEP_EVERY = fitting.BLOCK = initialisation.BLOCK = frames
    usual = fitting.windows
    fitting.windows = lambda total: usual(total, 3 * frames, frames)
