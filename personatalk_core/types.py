"""What travels between the stages. Frozen, validated at birth, never edited by a receiver.

Axes: B batch, T frames, N references, V vertices, F triangles, H W pixels, S samples, D channels,
C image channels, A identity and E expression coefficients, K landmarks.

Frames of reference
    Canonical   right-handed, x to the image's right, y up, z towards the viewer; unit: the distance of the
                outer eye corners of the mean face; origin: centroid of the mean face.
    Image       continuous pixels of the displayed (rotation applied) source frame, x right, y down; the
                centre of the top-left pixel is (0.5, 0.5). Depth has the same unit, larger is nearer.
    Crop        the same convention inside a square crop.
Camera: scaled orthographic. With R = exp(rotation) and c = scale:
    x = c (R X)_x + t_x        y = -c (R X)_y + t_y        depth = c (R X)_z
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .checks import check_finite, check_rising, check_shape
from .errors import ShapeError

OnProgress = Callable[[int, int], None]
"""``on_progress(done, total)``, called after each unit of work; it may raise to cancel."""


class CacheEntry(Protocol):
    """What a Cache gives back: tensors by name, and JSON values."""

    @property
    def tensors(self) -> dict[str, Tensor]: ...

    @property
    def config(self) -> dict: ...


class Cache(Protocol):
    """Keeps finished windows of work on disk under names, so that a later run goes on after them.

    window: frames of work that are kept together; None: what suits each stage.
    """

    window: int | None

    def save(self, name: str, tensors: dict[str, Tensor], config: dict | None = None) -> None:
        """Keep them, whole or not at all. Raises MediaError when the disk is full."""

    def load(self, name: str) -> CacheEntry | None:
        """What was kept, or None."""

    def path(self, name: str) -> Path:
        """A file beside what is kept, for data that is appended to."""
        ...


class FrameRows(Protocol):
    """An array (T, ...) that is read by slices: rows on disk, or an ndarray."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def __getitem__(self, frames: int | slice | np.ndarray, /) -> np.ndarray: ...

    def __array__(self, dtype: np.dtype | None = None, /) -> np.ndarray: ...


class FrameStatus(IntEnum):
    """What was found in a frame. Only OK frames are dubbed; every other passes through."""

    OK = 0
    NO_FACE = 1
    SIDE = 2
    COVERED = 3
    CUT = 4
    TINY = 5


def status_names(status: Iterable[int]) -> list[str]:
    """Lower-case names of a row of FrameStatus values, as reports show them."""
    return [FrameStatus(int(value)).name.lower() for value in status]


@dataclass(frozen=True, eq=False)
class AudioClip:
    """Sound. samples (C, S) float32 in about [-1, 1]; sample_rate in Hz; start: seconds on the video's
    clock."""

    samples: np.ndarray
    sample_rate: int
    start: float = 0.0

    def __post_init__(self) -> None:
        check_shape("audio samples", self.samples, "C", "S")
        if self.sample_rate <= 0:
            raise ShapeError(f"sample rate is {self.sample_rate} but expected a positive number of Hz.")

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return self.samples.shape[1] / self.sample_rate


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file holds, before a pixel is used.

    width, height: displayed size in pixels, rotation applied.  times (T,): start of each frame in seconds,
    the first is 0, strictly increasing.  durations (T,): seconds each frame is shown.  rate: average
    frames a second.  constant_rate: all durations are equal.  sha256: of the file.
    pixel_aspect: width over height of one pixel.  colour: ITU-T H.273 code points (primaries, transfer,
    matrix) that a file made from these frames should state.  pts (T,) int64 and time_base: time stamps inside
    the file, None where it has none to find frames by; keyframe (T,) bool.  clean_aperture: left, top, right,
    bottom of what is shown of the stored picture, None for all.  remarks: what a user should know, a sentence
    each.
    """

    path: Path
    width: int
    height: int
    times: np.ndarray
    durations: np.ndarray
    rate: Fraction
    constant_rate: bool
    has_audio: bool
    sha256: str
    pixel_aspect: Fraction = Fraction(1)
    colour: tuple[int, int, int] = (1, 1, 1)
    pts: np.ndarray | None = None
    time_base: Fraction = Fraction(1, 90_000)
    keyframe: np.ndarray | None = None
    clean_aperture: tuple[int, int, int, int] | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_shape("frame times", self.times, "T")
        check_shape("frame durations", self.durations, len(self.times))
        check_rising("frame times", self.times)
        for name in ("pts", "keyframe"):
            if getattr(self, name) is not None:
                check_shape(f"frame {name}", getattr(self, name), len(self.times))

    @property
    def frame_count(self) -> int:
        return len(self.times)

    @property
    def duration(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return float(self.times[-1] + self.durations[-1])


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """A clip's pixels, to be streamed by, with what is known of all of them.

    frames: gives the frames (H, W, 3) uint8 RGB from a number on, in order.  times (T,): seconds, one each.
    frame_size (H, W) of every frame.  source: sha256 of the video, or empty.
    """

    frames: Callable[[int], Iterable[np.ndarray]]
    times: np.ndarray
    frame_size: tuple[int, int]
    source: str = ""

    def __post_init__(self) -> None:
        check_shape("frame times", self.times, "T")


@dataclass(frozen=True, eq=False)
class Timeline:
    """Which source frame is shown when, in the output.

    source_frame (T,) int64: index into the source video.  times (T,) and durations (T,): seconds in the
    output.  The frame count of the output is T.
    """

    source_frame: np.ndarray
    times: np.ndarray
    durations: np.ndarray

    def __post_init__(self) -> None:
        check_shape("timeline source_frame", self.source_frame, "T")
        check_shape("timeline times", self.times, len(self.source_frame))
        check_shape("timeline durations", self.durations, len(self.source_frame))

    @property
    def frame_count(self) -> int:
        return len(self.source_frame)

    @property
    def duration(self) -> float:
        return float(self.times[-1] + self.durations[-1])


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One followed face.

    Landmarks and blendshapes of a long clip may lie on disk; slices of them are arrays.

    landmarks (T, 478, 3) float32: x, y in image pixels; z in the same unit, larger is nearer to the viewer;
    zeros where status is NO_FACE.  blendshapes (T, 52) float32 in [0, 1], MediaPipe's ARKit-style scores.
    status (T,) uint8 of FrameStatus.  shot (T,) int64: number of the shot, rising at each hard cut.
    times (T,) seconds.  frame_size (height, width).  source: sha256 of the video.
    """

    landmarks: np.ndarray | FrameRows
    blendshapes: np.ndarray | FrameRows
    status: np.ndarray
    shot: np.ndarray
    times: np.ndarray
    frame_size: tuple[int, int]
    source: str = ""

    def __post_init__(self) -> None:
        frames = check_shape("landmarks", self.landmarks, "T", 478, 3)["T"]
        check_shape("blendshapes", self.blendshapes, frames, 52)
        check_shape("status", self.status, frames)
        check_shape("shot", self.shot, frames)
        check_shape("times", self.times, frames)
        if isinstance(self.landmarks, (np.ndarray, Tensor)):  # rows on disk were checked as they came
            check_finite("landmarks", self.landmarks)

    @property
    def frame_count(self) -> int:
        return len(self.status)


FRAME_FIELDS = {
    "expression": torch.float32,
    "rotation": torch.float32,
    "translation": torch.float32,
    "scale": torch.float32,
    "status": torch.uint8,
    "shot": torch.int64,
    "source_frame": torch.int64,
    "times": torch.float64,
    "durations": torch.float64,
}
"""The fields of FaceGeometry that have one row a frame, and the dtype a geometry file stores them in."""


@dataclass(frozen=True, eq=False)
class FaceGeometry:
    """The 3DMM coefficients of a clip, C_{1:T} = {alpha, beta_t, p_t} of the paper, plus where each frame
    came from.

    identity (A,): alpha, in standard deviations of the face model.  expression (T, E): beta, likewise; the
    first ``face_model.lower_count`` columns move the lower face.  rotation (T, 3): axis-angle, radians.
    translation (T, 2): image pixels.  scale (T,): pixels a canonical unit.  status (T,) uint8 of
    FrameStatus; values of frames without a face are interpolated, never NaN.  shot (T,) int64.
    source_frame (T,) int64: the frame of the source video this pose belongs to.  times (T,): seconds.
    frame_size (height, width).  face_model, source: sha256 identities.  audio: path and sha256 of the
    speech that drives it, or empty.  reference: the estimated geometry of the whole source clip, on a
    generated geometry only; the renderer samples the clip's pixels through it.
    """

    identity: Tensor
    expression: Tensor
    rotation: Tensor
    translation: Tensor
    scale: Tensor
    status: Tensor
    shot: Tensor
    source_frame: Tensor
    times: Tensor
    durations: Tensor
    frame_size: tuple[int, int]
    face_model: str
    source: str = ""
    audio: tuple[str, str] = ("", "")
    reference: "FaceGeometry | None" = None

    def __post_init__(self) -> None:
        check_shape("identity", self.identity, "A")
        frames = check_shape("expression", self.expression, "T", "E")["T"]
        columns = {"expression": ("E",), "rotation": (3,), "translation": (2,)}
        for name in FRAME_FIELDS:
            check_shape(name, getattr(self, name), frames, *columns.get(name, ()))
        for name in ("identity", "expression", "rotation", "translation", "scale"):
            check_finite(name, getattr(self, name))

    def __getitem__(self, frames: Tensor | Sequence[int] | slice) -> FaceGeometry:
        """Chosen frames in the given order, each as often as it is named; without ``reference``.

        Args:
            frames: (N,) frame numbers in [-T, T), or a slice.
        Raises:
            IndexError: a frame number outside the clip.
        """
        rows = frames if isinstance(frames, slice) else torch.as_tensor(frames, dtype=torch.int64)
        chosen = {name: getattr(self, name)[rows] for name in FRAME_FIELDS}
        return replace(self, reference=None, **chosen)

    @property
    def frame_count(self) -> int:
        return self.expression.shape[0]

    @property
    def usable(self) -> Tensor:
        """(T,) bool: frames that can be dubbed."""
        return self.status == int(FrameStatus.OK)

    @property
    def timeline(self) -> Timeline:
        """When each frame is shown, and over which frame of the source."""
        times, durations = self.times.double().numpy(), self.durations.double().numpy()
        return Timeline(self.source_frame.numpy(), times, durations)


@dataclass(frozen=True, eq=False)
class Pncc:
    """Projected normalised coordinate code (paper 3.1, Zhu et al. 2017).

    map (T, 3, H, W) float32 in [0, 1], background exactly 0.  triangle (T, H, W) int64, -1 where nothing.
    barycentric (T, 3, H, W) float32.  depth (T, H, W) float32, larger is nearer, -inf where nothing.
    """

    map: Tensor
    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    def __post_init__(self) -> None:
        axes = check_shape("pncc map", self.map, "T", 3, "H", "W")
        frames, height, width = axes["T"], axes["H"], axes["W"]
        check_shape("pncc triangle", self.triangle, frames, height, width)
        check_shape("pncc barycentric", self.barycentric, frames, 3, height, width)
        check_shape("pncc depth", self.depth, frames, height, width)


@dataclass(frozen=True, eq=False)
class StyleEmbedding:
    """How a person speaks: S of the paper.

    vector (D,) float32.  name: shown to users.  thumbnail: JPEG bytes or empty.  source: sha256 of the
    clip.  face_model, network: sha256 identities of what made it; a style fits only the network that made it.
    """

    vector: Tensor
    name: str
    face_model: str
    network: str
    source: str = ""
    thumbnail: bytes = b""

    def __post_init__(self) -> None:
        check_shape("style vector", self.vector, "D")
        check_finite("style vector", self.vector)


@dataclass(frozen=True, eq=False)
class CropBoxes:
    """Square crops that follow the face. box (T, 3) float32: centre x, centre y, side, in image pixels."""

    box: Tensor

    def __post_init__(self) -> None:
        check_shape("crop box", self.box, "T", 3)


@dataclass(frozen=True, eq=False)
class ReferenceSelection:
    """Frames whose pixels are sampled (paper 3.2, Algorithm 1). Indices into the source video.

    lip (N_l,) int64, sorted by mouth opening.  face (T, N_f) int64 around each output frame.
    """

    lip: Tensor
    face: Tensor

    def __post_init__(self) -> None:
        check_shape("lip references", self.lip, "N_l")
        check_shape("face references", self.face, "T", "N_f")


@dataclass
class DubReport:
    """What happened, frame by frame; written as JSON. Filled by the pipeline, read by people."""

    frames: int = 0
    dubbed: int = 0
    resumed: int = 0  # frames that an earlier, interrupted run had finished
    passed_through: dict[str, int] = field(default_factory=dict)
    status: list[str] = field(default_factory=list)
    lip_references: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def as_tensor(array: np.ndarray | FrameRows | Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of the given dtype on the CPU, copied from an array or tensor."""
    return (
        torch.as_tensor(array if isinstance(array, Tensor) else np.array(array, order="C"))
        .to(dtype=dtype, device="cpu")
        .clone()
    )
