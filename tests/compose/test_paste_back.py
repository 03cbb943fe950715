import cv2
import numpy as np
import pytest
import torch

from personatalk_core.compose.crop import crop_image
from personatalk_core.compose.paste_back import frame_area, paste_back, place_on_frame
from personatalk_core.errors import ShapeError


@pytest.fixture
def frame():
    """A smooth colourful picture, (240, 320, 3) uint8."""
    small = np.random.default_rng(0).random((12, 16, 3)).astype(np.float32)
    return (cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def round_mask(size=128):
    at = (np.arange(size) + 0.5) / size - 0.5
    distance = np.hypot(at[:, None], at[None])
    return ((0.35 - distance) / 0.1).clip(0, 1).astype(np.float32)


def cut(frame, box, size=128):
    return (
        torch.from_numpy(crop_image(frame, np.asarray(box, np.float32), size)).permute(2, 0, 1).float() / 255
    )


@pytest.mark.parametrize("box", [(160.0, 120.0, 128.0), (150.3, 118.7, 97.3), (163.8, 121.2, 171.9)])
def test_a_crop_put_back_is_the_frame(frame, box):
    pasted, shown = paste_back(frame, cut(frame, box), round_mask(), box)
    assert np.abs(pasted.astype(int) - frame).max() <= 3
    assert 0.05 < (shown > 0).mean() < 0.5


def test_whole_pixels_put_back_are_exact(frame):
    box = (160.0, 120.0, 128.0)
    pasted, _ = paste_back(frame, cut(frame, box), np.ones((128, 128), np.float32), box)
    assert np.array_equal(pasted, frame)


@pytest.mark.parametrize(
    "box", [(160.0, 120.0, 128.0), (150.3, 118.7, 97.3), (10.0, 230.0, 100.0), (310.2, 5.5, 140.0)]
)
def test_pixels_outside_the_mask_are_identical(frame, box):
    noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    before = frame.copy()
    pasted, shown = paste_back(frame, noise, round_mask(), box)
    assert np.array_equal(pasted[shown == 0], frame[shown == 0])
    assert (pasted != frame).any()
    assert np.array_equal(frame, before)  # the input is not changed


def test_an_empty_mask_returns_the_input_bit_for_bit(frame):
    pasted, shown = paste_back(
        frame, torch.rand(3, 128, 128), np.zeros((128, 128), np.float32), (160, 120, 128)
    )
    assert np.array_equal(pasted, frame) and pasted is not frame and not shown.any()
    pasted, shown = paste_back(frame, torch.rand(3, 128, 128), round_mask(), (160, 120, 128), weight=0.0)
    assert np.array_equal(pasted, frame) and not shown.any()


def test_a_box_outside_the_frame_changes_nothing(frame):
    pasted, shown = paste_back(frame, torch.rand(3, 128, 128), round_mask(), (-300, 120, 128))
    assert np.array_equal(pasted, frame) and not shown.any()


def test_half_the_weight_is_half_the_change(frame):
    box, other = (160.0, 120.0, 128.0), cut(frame[:, ::-1].copy(), (160.0, 120.0, 128.0))
    whole, full = paste_back(frame, other, round_mask(), box)
    half, shown = paste_back(frame, other, round_mask(), box, weight=0.5)
    assert np.allclose(shown, full / 2, atol=1e-6)
    expected = (whole.astype(float) + frame) / 2
    assert np.abs(half - expected).max() <= 1.5


def test_a_change_of_light_vanishes(frame):
    box = (160.0, 120.0, 150.0)
    frame = frame // 2 + 60  # nothing near black or white
    brighter = cut(frame, box) + 0.06
    pasted, shown = paste_back(frame, brighter, round_mask(), box)
    plain = np.abs(shown[..., None] * 0.06 * 255)
    error = np.abs(pasted.astype(float) - frame)
    assert error.mean() < 0.2 * plain.mean()
    assert error.max() < 6


def test_a_slope_of_light_vanishes_at_the_seam(frame):
    box = (160.0, 120.0, 150.0)
    frame = frame // 2 + 60
    slope = torch.linspace(-0.06, 0.06, 128)[None, None, :]
    pasted, shown = paste_back(frame, cut(frame, box) + slope, round_mask(), box)
    seam = (shown > 0) & (shown < 0.9)
    assert np.abs(pasted.astype(float) - frame)[seam].max() < 5


def test_a_moved_thing_is_not_taken_for_light():
    grey = np.full((240, 320, 3), 120, np.uint8)
    crop = torch.full((3, 128, 128), 120 / 255)
    crop[:, 80:108, 40:88] = 0.95  # something bright at one side of the seam
    pasted, _shown = paste_back(grey, crop, round_mask(), (160.0, 120.0, 128.0))
    dark = pasted[70:110, 140:180]  # the other side keeps its grey
    assert np.abs(dark.astype(int) - 120).max() <= 3
    assert pasted[150, 160].min() > 225


def test_positions_follow_the_crops_convention():
    """Crop position (u, v) is image position corner + (u, v) * side / R."""
    picture = np.zeros((64, 64), np.float32)
    picture[20, 30] = 1.0  # centre (30.5, 20.5) in the crop
    box, scale = (100.0, 90.0, 192.0), 3.0
    placed = place_on_frame(picture, box, slice(0, 200), slice(0, 200))
    y, x = (
        (np.arange(200) + 0.5) @ placed.sum(1) / placed.sum(),
        (np.arange(200) + 0.5) @ placed.sum(0) / placed.sum(),
    )
    assert x == pytest.approx(100 - 96 + 30.5 * scale, abs=0.05)
    assert y == pytest.approx(90 - 96 + 20.5 * scale, abs=0.05)


def test_shrinking_averages():
    checks = np.indices((256, 256)).sum(0).astype(np.float32) % 2
    placed = place_on_frame(checks, (32.0, 32.0, 64.0), slice(8, 56), slice(8, 56))
    assert np.abs(placed - 0.5).max() < 0.05


def test_covered_pixels_are_those_whose_centres_lie_inside():
    assert frame_area((5.0, 5.0, 4.0), (20, 20)) == (slice(3, 7), slice(3, 7))
    assert frame_area((5.0, 5.0, 4.9), (20, 20)) == (slice(3, 7), slice(3, 7))
    assert frame_area((5.0, 5.0, 5.1), (20, 20)) == (slice(2, 8), slice(2, 8))
    assert frame_area((0.0, 25.0, 4.0), (20, 20)) is None


def test_refusals(frame):
    with pytest.raises(ShapeError, match="crop"):
        paste_back(frame, torch.rand(3, 100, 128), round_mask(), (160, 120, 128))
    with pytest.raises(ShapeError, match="mask"):
        paste_back(frame, torch.rand(3, 128, 128), round_mask(64), (160, 120, 128))
    with pytest.raises(ShapeError, match="positive side"):
        paste_back(frame, torch.rand(3, 128, 128), round_mask(), (160, 120, 0))
    with pytest.raises(ShapeError, match="uint8"):
        paste_back(frame.astype(np.float32), torch.rand(3, 128, 128), round_mask(), (160, 120, 128))
