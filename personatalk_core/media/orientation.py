"""How a stored picture is turned and mirrored before it is shown: the display matrix of phones and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """Swap rows with columns first, then mirror. Angles between quarter turns are taken as the nearest one."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @staticmethod
    def of_matrix(data: bytes) -> "Orientation":
        """From the nine int32 of a display matrix: x' = a x + c y, y' = b x + d y, stored a b u c d v x y w."""
        a, b, _, c, d, *_ = np.frombuffer(data, np.int32, 9).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Orientation(False, a < 0, d < 0)
        return Orientation(True, c < 0, b < 0)

    @staticmethod
    def of_degrees(turn: int) -> "Orientation":
        """From degrees counter-clockwise by which the stored picture is turned before it is shown, as PyAV states them."""
        return {90: Orientation(True, False, True), 180: Orientation(False, True, True), 270: Orientation(True, True, False)}.get(
            round(turn / 90) * 90 % 360, Orientation()
        )

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, ...) as stored -> (H, W, ...) as shown, contiguous; the same array where nothing changes."""
        if self == Orientation():
            return picture
        turned = picture.swapaxes(0, 1) if self.swap else picture
        turned = turned[:, ::-1] if self.mirror_x else turned
        return np.ascontiguousarray(turned[::-1] if self.mirror_y else turned)
