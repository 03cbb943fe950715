"""MediaPipe's face detector and landmarker on square crops of a frame: landmarks, blendshapes and colours.

Its C++ start-up chatter is kept off the terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import DependencyError, WeightsError
from ..weights.checkpoint import sha256_of
from .appearance import head_pose, landmark_colours

LANDMARK_COUNT = 478
BLENDSHAPE_COUNT = 52
TASK_FILE = Path(__file__).parent.parent / "weights" / "face_landmarker.task"
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

OUTER_EYE_CORNERS = (33, 263)
LIP_MIDDLES = (13, 14)  # upper and lower middle of the inner lips
INPUT_SIZE = 256  # the landmark network's own input; larger crops were measured to gain nothing
MAX_FACES_IN_CROP = 3
# of the landmarker; at its default of 0.5 heads turned by 55 to 65 degrees are lost, on 4 of 4 tried
CONFIDENCE = 0.3

# "W0000 00:00:1795363659.5 11604 file.cc:14] ...", "INFO: [file.cc:36] ...", "INFO: Created TensorFlow Lite
# ...", "WARNING: Logging before InitGoogle() ..."
CHATTER = re.compile(
    rb"^([IWE]\d{4} \d\d:\d\d:|(INFO|WARNING|VERBOSE): "
    rb"(\[\w+\.cc:\d+\]|Created TensorFlow|Logging before|All log messages))"
)


@dataclass(frozen=True, eq=False)
class FaceReading:
    """One face in one frame.

    landmarks (478, 3) float32: image pixels, z larger is nearer.  blendshapes (52,) float32 in [0, 1].
    colours (468, 3) float32: RGB at the landmarks of the skin, 0 to 255.
    pose: yaw and pitch of the face in degrees, 0 frontal (see :func:`head_pose`).
    """

    landmarks: np.ndarray
    blendshapes: np.ndarray
    colours: np.ndarray
    pose: tuple[float, float]

    @property
    def turn(self) -> float:
        """Degrees between the face's forward axis and the line to the camera."""
        yaw, pitch = np.radians(self.pose)
        return float(np.degrees(np.arccos(np.cos(yaw) * np.cos(pitch))))

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest (x, y) of the landmarks."""
        return self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)

    @property
    def centre(self) -> np.ndarray:
        """(2,) middle of the bounds, pixels."""
        low, high = self.bounds
        return (low + high) / 2

    @property
    def extent(self) -> float:
        """Longer side of the bounds, pixels."""
        low, high = self.bounds
        return float((high - low).max())

    @property
    def size(self) -> float:
        """Twice the distance of the outer eye corners in 3D, pixels: the measure of MIN_FACE_PIXELS,
        unchanged by turning."""
        left, right = OUTER_EYE_CORNERS
        return 2.0 * float(np.linalg.norm(self.landmarks[left] - self.landmarks[right]))


def _import_mediapipe():
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    return mediapipe, BaseOptions, vision


def _mediapipe():
    try:
        return _import_mediapipe()
    except ImportError as error:
        raise DependencyError(
            "mediapipe is not installed, and tracking a face needs it; run: pip install mediapipe."
        ) from error
    except OSError as error:
        raise _missing_library(error) from error


def _missing_library(error: OSError) -> DependencyError:
    if any(name in str(error) for name in ("libEGL", "libGLESv2", "libGL.")):
        return DependencyError(
            f"mediapipe cannot load a graphics library of the system ({error}); install the Debian "
            "packages libegl1 and libgles2: apt-get install libegl1 libgles2."
        )
    return DependencyError(
        f"mediapipe cannot be loaded ({error}); reinstall it: pip install --force-reinstall mediapipe."
    )


@lru_cache(maxsize=4)
def _verified(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; expected the MediaPipe face landmarker there, restore it from the "
            "repository."
        )
    actual = sha256_of(path)
    if actual != TASK_SHA256:
        raise WeightsError(
            f"{path} has sha256 {actual} but expected {TASK_SHA256}; restore it from the repository."
        )
    return path


def warp_square(frame: np.ndarray, box: tuple[float, float, float], size: int) -> np.ndarray:
    """Cut the square (centre x, centre y, side) out of a frame at size x size pixels, the border repeated
    outside."""
    x, y, side = box
    scale = size / side
    if scale < 0.5:  # average whole pixels first, so that a large face is not read through aliasing
        factor = int(1 / scale)
        low = np.floor([x - side / 2, y - side / 2]).astype(int) - 2 * factor
        high = np.ceil([x + side / 2, y + side / 2]).astype(int) + 2 * factor
        left, top = np.clip(low, 0, None)
        right, bottom = np.minimum(high, (frame.shape[1], frame.shape[0]))
        width, height = (right - left) // factor, (bottom - top) // factor
        if width >= 1 and height >= 1:
            region = frame[top : top + height * factor, left : left + width * factor]
            frame = cv2.resize(region, (int(width), int(height)), interpolation=cv2.INTER_AREA)
            x, y, scale = (x - left) / factor, (y - top) / factor, scale * factor
    # continuous coordinates: u = (x_source - x) * scale + size / 2, with pixel centres at index + 0.5
    shift = (0.5 - np.array([x, y])) * scale + size / 2 - 0.5
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    return cv2.warpAffine(
        frame, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _close(networks: tuple) -> None:
    with without_native_chatter():
        for network in networks:
            network.close()


class FaceLandmarker:
    """MediaPipe's detector and landmarker on square parts of a frame. Every call stands alone: no state
    between frames.

    ``close()``, or leaving a ``with`` block, releases the native networks.

    Raises (when made):
        DependencyError: mediapipe or a system library it needs is missing.
        WeightsError: the bundled model file is missing or altered.
    """

    def __init__(self, task_file: Path = TASK_FILE) -> None:
        path = _verified(Path(task_file))
        with without_native_chatter():
            self._mediapipe, base_options, vision = _mediapipe()
            try:
                model = path.read_bytes()
                self._one = self._landmarker(vision, base_options(model_asset_buffer=model), 1)
                self._several = self._landmarker(
                    vision, base_options(model_asset_buffer=model), MAX_FACES_IN_CROP
                )
                with zipfile.ZipFile(path) as bundle:
                    detector = base_options(model_asset_buffer=bundle.read("face_detector.tflite"))
                self._detector = vision.FaceDetector.create_from_options(
                    vision.FaceDetectorOptions(base_options=detector)
                )
            except OSError as error:
                raise _missing_library(error) from error
            blank = self._image(np.zeros((INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
            for network in (self._one, self._several, self._detector):  # the first call prints, too
                network.detect(blank)
        self._warm: set = set()
        # MediaPipe's own clean-up fails noisily while the interpreter shuts down; this one runs before
        self.close = weakref.finalize(self, _close, (self._one, self._several, self._detector))

    @staticmethod
    def _landmarker(vision, base_options, faces: int):
        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=base_options,
                num_faces=faces,
                min_face_detection_confidence=CONFIDENCE,
                min_face_presence_confidence=CONFIDENCE,
                output_face_blendshapes=True,
            )
        )

    def _image(self, pixels: np.ndarray):
        return self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
        )

    def __enter__(self) -> "FaceLandmarker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        """Boxes of faces in a picture. pixels (H, W, 3) uint8 RGB -> (N, 4) float64: centre x, centre y, side
        in pixels, score."""
        found = self._detector.detect(self._image(pixels)).detections
        rows = [
            (
                b.origin_x + b.width / 2,
                b.origin_y + b.height / 2,
                max(b.width, b.height),
                d.categories[0].score,
            )
            for d in found
            for b in (d.bounding_box,)
        ]
        return np.array(rows, float).reshape(-1, 4)

    def read(
        self, frame: np.ndarray, box: tuple[float, float, float], *, several: bool = False
    ) -> list[FaceReading]:
        """Landmarks of the faces inside a square of the frame.

        Args:
            frame:   (H, W, 3) uint8 RGB.
            box:     centre x, centre y, side in image pixels; about 1.5 times the face.
            several: look for up to MAX_FACES_IN_CROP faces instead of the one that is surest.
        Returns:
            One reading a face; empty when there is none.
        """
        crop = warp_square(frame, box, INPUT_SIZE)
        network = self._several if several else self._one
        with (
            contextlib.nullcontext() if network in self._warm else without_native_chatter()
        ):  # its first face makes it print
            result = network.detect(self._image(crop))
        if result.face_landmarks:
            self._warm.add(network)
        return [
            _reading(landmarks, scores, box, crop)
            for landmarks, scores in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]


def _reading(landmarks, scores, box: tuple[float, float, float], crop: np.ndarray) -> FaceReading:
    x, y, side = box
    unit = np.array([(p.x, p.y, -p.z) for p in landmarks], np.float64)  # (478, 3), 1 is the crop's side
    points = unit * side
    points[:, :2] += (x - side / 2, y - side / 2)
    return FaceReading(
        landmarks=points.astype(np.float32),
        blendshapes=np.array([s.score for s in scores], np.float32),
        colours=landmark_colours(crop, unit[:, :2] * len(crop)),
        pose=head_pose(points),
    )


# the descriptor belongs to the whole process: two overlapping redirections would lose it
_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def without_native_chatter() -> Iterator[None]:
    """Hold file descriptor 2 while a native library starts, then print what was not its chatter.

    The library writes to the descriptor directly, so Python's sys.stderr cannot filter it. Lines of other
    writers that arrive meanwhile are kept and printed at the end, in order.
    """
    with _ONE_AT_A_TIME:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, AttributeError, ValueError):  # no standard error at all: nothing to keep quiet
            saved = -1
        if saved < 0:
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                with contextlib.suppress(OSError, AttributeError, ValueError):
                    sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
                held.seek(0)
                other_lines = b"".join(line for line in held if not CHATTER.match(line))
                if other_lines:
                    os.write(2, other_lines)
