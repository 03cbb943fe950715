"""The landmarker: right places, stated failures, no chatter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from personatalk_core.errors import DependencyError, WeightsError
from personatalk_core.tracking import landmarks as module
from personatalk_core.tracking.landmarks import FaceLandmarker, warp_square

BOX = (165.0, 140.0, 290.0)
ROOT = Path(__file__).resolve().parents[2]


def test_a_frontal_face_is_read_in_image_pixels(landmarker, woman):
    (reading,) = landmarker.read(woman[0], BOX)
    left_eye, right_eye, chin = reading.landmarks[33], reading.landmarks[263], reading.landmarks[152]
    assert 80 < left_eye[0] < 125 and 170 < right_eye[0] < 215
    assert 190 < chin[1] < 240
    assert reading.blendshapes.shape == (52,) and reading.turn < 35
    assert reading.size == pytest.approx(2 * np.linalg.norm(left_eye - right_eye), rel=1e-5)


def test_the_same_face_shifted_and_scaled_is_read_shifted_and_scaled(landmarker, woman):
    (plain,) = landmarker.read(woman[0], BOX)
    large = cv2.resize(woman[0], (700, 700), interpolation=cv2.INTER_CUBIC)
    moved = np.roll(large, (30, 50), (0, 1))
    (reading,) = landmarker.read(moved, (2 * BOX[0] + 50, 2 * BOX[1] + 30, 2 * BOX[2]))
    assert np.abs(reading.landmarks[:, :2] - (plain.landmarks[:, :2] * 2 + (50, 30))).mean() < 1.5


def test_yaw_has_a_sign(landmarker, woman):
    (reading,) = landmarker.read(woman[0], BOX)
    (mirrored,) = landmarker.read(np.ascontiguousarray(woman[0][:, ::-1]), (350 - BOX[0], BOX[1], BOX[2]))
    assert abs(reading.pose[0]) > 5 and reading.pose[0] == pytest.approx(-mirrored.pose[0], abs=6)


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_head_tilted_to_the_shoulder_is_read(landmarker, woman, degrees):
    turn = cv2.getRotationMatrix2D((165, 140), degrees, 1.0)
    tilted = cv2.warpAffine(woman[0], turn, (350, 350), borderMode=cv2.BORDER_REPLICATE)
    (plain,), (reading,) = landmarker.read(woman[0], BOX), landmarker.read(tilted, BOX)
    expected = plain.landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert np.abs(reading.landmarks[:, :2] - expected).mean() < 4


def test_nothing_is_read_where_nothing_is(landmarker):
    assert landmarker.read(np.full((300, 300, 3), 90, np.uint8), BOX) == []
    assert landmarker.detect(np.full((64, 64, 3), 90, np.uint8)).shape == (0, 4)


def test_warp_square_keeps_positions_at_every_scale():
    x, y = np.meshgrid(np.arange(800) + 0.5, np.arange(600) + 0.5)
    frame = np.stack([x / 4, y / 4, x / 4], -1).astype(np.float32)
    for side in (64.0, 200.0, 500.0):
        crop = warp_square(frame, (401.3, 299.7, side), 64)
        expected = np.array([401.3 - side / 2, 299.7 - side / 2]) + np.array([20.5, 40.5]) * side / 64
        assert crop[40, 20, :2] * 4 == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("library", ["libEGL.so.1", "libGLESv2.so.2"])
def test_a_missing_graphics_library_names_the_packages(monkeypatch, library):
    def fail():
        raise OSError(f"{library}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(module, "_import_mediapipe", fail)
    with pytest.raises(DependencyError, match=f"{library}.*libegl1 and libgles2"):
        FaceLandmarker()


def test_a_missing_graphics_library_at_creation_names_the_packages(monkeypatch):
    def fail(*_):
        raise OSError("libGLESv2.so.2: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(FaceLandmarker, "_landmarker", staticmethod(fail))
    with pytest.raises(DependencyError, match="libegl1 and libgles2"):
        FaceLandmarker()


def test_missing_mediapipe_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(DependencyError, match="pip install mediapipe"):
        FaceLandmarker()


def test_an_altered_or_missing_model_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        FaceLandmarker(tmp_path / "none.task")
    (tmp_path / "other.task").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="has sha256 .* but expected"):
        FaceLandmarker(tmp_path / "other.task")


def test_mediapipe_stays_quiet_from_start_to_exit():
    code = (
        "import sys; sys.path.append(sys.argv[1]); import numpy as np\n"
        "from personatalk_core.tracking.landmarks import FaceLandmarker\n"
        "from personatalk_core.samples.demo import sample_frames\n"
        "landmarker = FaceLandmarker(); frame = sample_frames()[0]\n"
        "found = [len(landmarker.read(frame, (165, 140, 290), several=s)) for s in (False, True)]; "
        "print('found', *found, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "found 1 1\n")
