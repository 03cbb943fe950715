"""Networks that cost next to nothing, for measuring what the length of a clip costs: only what surrounds the
networks is timed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...config import DubOptions
from ...dubbing.frame_renderer import FrameRenderer
from ...dubbing.progress import Progress
from ...dubbing.run import Dubbing, OutputFiles, Run
from ...dubbing.write_dub import write_dub
from ...geometry.face_model import FaceModel
from ...models import Models
from ...pipeline import animate, estimate_geometry
from ...rendering.batch import EncodedReferences, ReferenceFrames, RenderedCrops, Targets
from ...rendering.references import ReferenceOptions, select_references
from ...tracking.landmarks import FaceLandmarker, FaceReading
from ...types import DubReport

MAX_READINGS = 1000  # the benchmark's clip repeats after 110 frames

Reading = TypeVar("Reading")


class CachingLandmarker(FaceLandmarker):
    """Reads a crop of a frame that it has met before from memory: in a clip that repeats, the networks run in
    the first round only."""

    def __init__(self, task_file: Path) -> None:
        super().__init__(task_file)
        self._readings: OrderedDict[Hashable, object] = OrderedDict()

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

    def _once(self, key: Hashable, call: Callable[[], Reading]) -> Reading:
        if key not in self._readings:
            self._readings[key] = call()
            if len(self._readings) > MAX_READINGS:
                self._readings.popitem(last=False)
        return self._readings[key]  # type: ignore[return-value]


class StubModels(Models):
    """Models whose landmarker runs once for each different frame."""

    def open_landmarker(self) -> FaceLandmarker:
        """As Models."""
        return CachingLandmarker(self.landmarker)

    @classmethod
    def of(cls, models: Models) -> StubModels:
        """The same models otherwise."""
        return cls(**{f.name: getattr(models, f.name) for f in fields(Models)})


def encode_nothing(renderer: object, frames: ReferenceFrames, face_model: FaceModel) -> EncodedReferences:
    """The crops as they are; nothing is encoded."""
    crops, points = frames.crops, frames.points
    shown = {"pixels": crops, "points": points, "visibility": points.new_ones(points.shape[:2])}
    encoded = {f.name: crops.new_zeros(len(crops), 1) for f in fields(EncodedReferences)}
    return EncodedReferences(**(encoded | shown))


def render_grey(
    renderer: object, targets: Targets, lip: EncodedReferences, face: EncodedReferences, face_model: FaceModel
) -> RenderedCrops:
    """(B, 3, R, R) of grey."""
    grey = targets.points.new_full((len(targets), *lip.pixels.shape[1:]), 0.5)
    return RenderedCrops(grey, grey[:, :1] * 0, grey[:, :1] * 0)


class GreyFrames(FrameRenderer):
    """Frames whose faces are grey: the renderer's network is not run."""

    encode_chunk = staticmethod(encode_nothing)
    render_chunk = staticmethod(render_grey)


def dub_grey(
    video: Path, audio: Path, out: OutputFiles, models: Models, options: DubOptions, progress: Progress
) -> DubReport:
    """``pipeline.dub`` with the stubs in the networks' places."""
    run = Run(StubModels.of(models), options, progress)
    with Dubbing.open(video, audio, out, run) as dubbing:
        run, clip = dubbing.run, dubbing.clip
        geometry = estimate_geometry(clip, run)
        target = animate(geometry, dubbing.speech, run)
        choice = ReferenceOptions.of(options)
        references = select_references(geometry, models.face_model, target.source_frame, choice)
        return write_dub(GreyFrames(clip, target, references, run), dubbing.out, run)
