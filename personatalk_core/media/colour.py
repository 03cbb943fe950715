"""Between a picture as stored and as shown: luma and chroma to RGB by the colour tags of the file, the clean
aperture cut out, the display rotation applied; and back for an encoder.

Values stay display-referred: transfer curves are never applied, so high dynamic range keeps its tone as coded
values and the output repeats the source's tags. Code points are those of ITU-T H.273.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import Interpolation

from ..types import VideoInfo

UNSPECIFIED = 2
BT709 = (1, 1, 1)  # primaries, transfer, matrix
HD_HEIGHT = 720  # untagged video from this size on is taken for BT.709, below for BT.601, as players do
LIMITED, FULL = 1, 2
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
# exact rounding (ACCURATE_RND), and chroma interpolated to every pixel (FULL_CHR_H_INT, FULL_CHR_H_INP)
# rather than repeated: without these swscale loses 11 dB at edges
_FLAGS = int(Interpolation.BICUBIC) | 0x40000 | 0x2000 | 0x4000
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # H.273 matrix -> swscale's name for it


def matrix_of(frame: av.VideoFrame) -> int:
    """The H.273 matrix of a decoded frame; a guess by size where the file says nothing."""
    matrix = int(frame.colorspace)
    if matrix in _SWSCALE_MATRIX:
        return matrix
    return 1 if min(frame.width, frame.height) >= HD_HEIGHT else 6


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame of any pixel format as (H, W, 3) uint8 RGB, not yet turned; alpha is dropped."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format="rgb24")
    value_range = int(frame.color_range)
    if value_range not in (LIMITED, FULL):
        value_range = FULL if frame.format.name.startswith(("yuvj", "gray")) else LIMITED
    matrix = _SWSCALE_MATRIX[matrix_of(frame)]
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=value_range,
        dst_color_range=FULL,
        interpolation=_FLAGS,
    )
    return rgb.to_ndarray()


def from_rgb(picture: np.ndarray, pixel_format: str, colour: tuple[int, int, int]) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB as a limited-range frame of a YUV pixel format, or as it is for an RGB one; tags
    set."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    if pixel_format == "rgb24":
        return frame
    return frame.reformat(
        format=pixel_format,
        src_color_range=FULL,
        dst_colorspace=_SWSCALE_MATRIX[colour[2]],
        dst_color_range=LIMITED,
        interpolation=_FLAGS,
    )


def tags_for_output(primaries: int, transfer: int, matrix: int) -> tuple[int, int, int]:
    """What the output states: the source's own tags where it is wide-gamut or HDR, BT.709 otherwise."""
    if transfer in HDR_TRANSFERS or matrix in (9, 10):
        return (9 if primaries == UNSPECIFIED else primaries, transfer if transfer != UNSPECIFIED else 14, 9)
    return BT709


def tags_of(context: av.VideoCodecContext) -> tuple[int, int, int]:
    """A decoder's H.273 primaries, transfer and matrix, once it has seen a frame."""
    return int(context.color_primaries), int(context.color_trc), int(context.colorspace)


def tag(context: av.VideoCodecContext, colour: tuple[int, int, int], *, rgb: bool) -> None:
    """Write colour tags into an encoder's header."""
    context.color_primaries, context.color_trc = colour[:2]
    context.colorspace = 0 if rgb else colour[2]
    context.color_range = FULL if rgb else LIMITED


def remarks_on(frame: av.VideoFrame, transfer: int) -> tuple[str, ...]:
    """Sentences about what cannot be kept whole."""
    remarks = []
    if transfer in HDR_TRANSFERS:
        remarks.append(
            f"The video is {HDR_TRANSFERS[transfer]} high dynamic range; its tone is kept, at 8 bits a "
            "channel."
        )
    elif max(c.bits for c in frame.format.components) > 8:
        remarks.append("The video has more than 8 bits a channel; the output has 8.")
    if frame.format.has_palette or any(c.is_alpha for c in frame.format.components):
        remarks.append("The video has transparency; the output has none.")
    if frame.interlaced_frame:
        remarks.append("The video is interlaced; its fields are kept woven together.")
    return tuple(remarks)


def cut_to(picture: np.ndarray, aperture: tuple[int, int, int, int] | None) -> np.ndarray:
    """The clean aperture (left, top, right, bottom) of a stored picture; the same array where there is none
    or the decoder has cut it already."""
    if aperture is None or picture.shape[1] < aperture[2] or picture.shape[0] < aperture[3]:
        return picture
    left, top, right, bottom = aperture
    return np.ascontiguousarray(picture[top:bottom, left:right])


def same_size(picture: np.ndarray, info: VideoInfo) -> np.ndarray:
    """A frame at the video's own size: streams may change theirs half-way. (H, W, 3) uint8."""
    if picture.shape[:2] == (info.height, info.width):
        return picture
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(
        width=info.width, height=info.height, interpolation=int(Interpolation.BICUBIC)
    ).to_ndarray()


@dataclass(frozen=True)
class Orientation:
    """Swap rows with columns first, then mirror. Angles between quarter turns are taken as the nearest
    one."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @staticmethod
    def of_frame(frame: av.VideoFrame) -> Orientation:
        """How this frame is turned before it is shown."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV refuses all side data where it does not know one kind of it, such as the Exif of a TIFF
            return Orientation.of_degrees(int(getattr(frame, "rotation", 0)))
        return Orientation.of_matrix(bytes(matrix)) if matrix is not None else Orientation()

    @staticmethod
    def of_matrix(data: bytes) -> Orientation:
        """From the nine int32 of a display matrix: x' = a x + c y, y' = b x + d y, stored a b u c d v x y
        w."""
        a, b, _, c, d, *_ = np.frombuffer(data, np.int32, 9).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Orientation(False, a < 0, d < 0)
        return Orientation(True, c < 0, b < 0)

    @staticmethod
    def of_degrees(turn: int) -> Orientation:
        """From degrees counter-clockwise by which the stored picture is turned before it is shown, as PyAV
        states them."""
        return {
            90: Orientation(True, False, True),
            180: Orientation(False, True, True),
            270: Orientation(True, True, False),
        }.get(round(turn / 90) * 90 % 360, Orientation())

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, ...) as stored -> (H, W, ...) as shown, contiguous; the same array where nothing changes."""
        if self == Orientation():
            return picture
        turned = picture.swapaxes(0, 1) if self.swap else picture
        turned = turned[:, ::-1] if self.mirror_x else turned
        return np.ascontiguousarray(turned[::-1] if self.mirror_y else turned)
