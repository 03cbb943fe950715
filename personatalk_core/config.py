"""User knobs and the constants of the method.

Derived constants live beside their formula; network sizes live in dataclasses inside the checkpoints;
what a user may turn lives in :class:`DubOptions`, whose :meth:`DubOptions.verify` refuses contradictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from .errors import OptionsError

MODEL_FPS = 25  # paper 4.1: videos are worked on at 25 fps
SAMPLE_RATE = 16_000  # paper 4.1: audio at 16 kHz
SAMPLES_PER_FRAME = SAMPLE_RATE // MODEL_FPS  # 640
CROP_SIZE = 256  # paper 4.1: crops of 256 x 256
LATENT_STRIDE = 4  # paper 3.2: latents at H/4 x W/4
LATENT_SIZE = CROP_SIZE // LATENT_STRIDE  # 64
MIN_FACE_PIXELS = 32  # eye corner to eye corner times two, below which a mouth has too few pixels to dub

LengthMode = Literal["cut_off", "bounce", "loop", "remap", "silence"]
LENGTH_MODES: tuple[str, ...] = ("cut_off", "bounce", "loop", "remap", "silence")
DEVICES = ("auto", "cpu", "cuda", "mps")
LANDMARKS = "landmarks"  # the initialiser that needs no weights of a user's
DTYPES = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class DubOptions:
    """What a user may choose for one dub.

    Attributes:
        length: what happens when sound and picture differ in length. ``cut_off``: as long as the shorter;
            ``bounce``: the picture plays forwards and backwards until the sound ends; ``loop``: it starts
            again; ``remap``: it is stretched or squeezed to the sound; ``silence``: as long as the
            picture, the sound padded with silence or cut.
        face: ``auto``, ``largest``, ``index:N`` (left to right in the first frame with faces) or
            ``point:X,Y@FRAME`` (pixels, frame number from 0).
        style_strength: 0 the average speaker, 1 the person, 2 exaggerated.
        lip_references: N_l of the paper (25 there), >= 1.  face_references: N_f of the paper, >= 1.
        exclude_window: references for frame i come from frames j with |i - j| >= this; 0 allows all.
        seed: random generator seed; the same seed, input and device give the same bytes.
        lossless: write RGB losslessly instead of H.264 yuv420p.
        provenance: write "AI-edited" metadata.
        initializer: what the fitting starts from (paper 3.1): ``landmarks``, or the path of Deng et al.'s
            coefficient
            network, converted to .safetensors.
    """

    length: LengthMode = "cut_off"
    face: str = "auto"
    style_strength: float = 1.0
    lip_references: int = 50
    face_references: int = 5
    exclude_window: int = 0
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    lossless: bool = False
    provenance: bool = True
    initializer: str = LANDMARKS

    def verify(self) -> "DubOptions":
        """Return self, or raise OptionsError with one sentence about the first contradiction."""
        if self.length not in LENGTH_MODES:
            raise OptionsError(f"length is '{self.length}' but expected one of {', '.join(LENGTH_MODES)}.")
        if self.device not in DEVICES:
            raise OptionsError(f"device is '{self.device}' but expected one of {', '.join(DEVICES)}.")
        if self.dtype not in DTYPES:
            raise OptionsError(f"dtype is '{self.dtype}' but expected one of {', '.join(DTYPES)}.")
        if not 0.0 <= self.style_strength <= 2.0:
            raise OptionsError(
                f"style strength is {self.style_strength} but expected a number from 0 (average "
                "speaker) to 2 (exaggerated)."
            )
        if self.lip_references < 1 or self.face_references < 1:
            raise OptionsError(
                f"reference counts are {self.lip_references} lip and {self.face_references} face but "
                "each must be at least 1."
            )
        if not self.initializer:
            raise OptionsError(
                f"initializer is empty but expected {LANDMARKS} or the path of a coefficient network."
            )
        if self.exclude_window < 0:
            raise OptionsError(f"exclude window is {self.exclude_window} frames but expected 0 or more.")
        FaceChoice.parse(self.face)
        return self


@dataclass(frozen=True)
class FaceChoice:
    """Which face of several to dub, parsed from ``auto | largest | index:N | point:X,Y@FRAME``."""

    kind: Literal["auto", "largest", "index", "point"]
    index: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    frame: int = 0

    @staticmethod
    def parse(text: str) -> "FaceChoice":
        """Parse the option's text. Raises OptionsError with the accepted forms."""
        try:
            if text in ("auto", "largest"):
                return FaceChoice(text)
            kind, _, rest = text.partition(":")
            if kind == "index" and int(rest) >= 0:
                return FaceChoice("index", index=int(rest))
            if kind == "point":
                xy, _, frame = rest.partition("@")
                x, y = (float(v) for v in xy.split(","))
                if int(frame or 0) >= 0 and isfinite(x) and isfinite(y):
                    return FaceChoice("point", point=(x, y), frame=int(frame or 0))
        except ValueError:
            pass
        raise OptionsError(
            f"face is '{text}' but expected auto, largest, index:N (N from 0) or point:X,Y@FRAME, such "
            "as point:320,180@0."
        )
