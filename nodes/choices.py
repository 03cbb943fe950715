"""Widgets that several nodes share, and their check before a run starts."""

from __future__ import annotations

from comfy_api.latest import io

from ..personatalk_core.config import LENGTH_MODES, DubOptions, FaceChoice
from ..personatalk_core.errors import OptionsError

DEFAULTS = DubOptions()


def face_input() -> io.Input:
    return io.String.Input(
        "face",
        default=DEFAULTS.face,
        advanced=True,
        tooltip=(
            "Which face is dubbed where there are several; all others stay untouched. auto: the one "
            "seen longest and largest. "
            "largest: the biggest. index:1: the second from the left. point:320,180@0: the face at "
            "that pixel of frame 0."
        ),
    )


def style_strength_input() -> io.Input:
    return io.Float.Input(
        "style_strength",
        default=DEFAULTS.style_strength,
        min=0.0,
        max=2.0,
        step=0.05,
        tooltip=(
            "How strongly the speaking style shows: 0 speaks like the average person, 1 like the "
            "style, 2 exaggerates it."
        ),
    )


def length_input() -> io.Input:
    return io.Combo.Input(
        "length",
        options=list(LENGTH_MODES),
        default=DEFAULTS.length,
        tooltip=(
            "What happens where sound and picture differ in length. cut_off: the result is as long as "
            "the shorter one. bounce: the picture"
            " runs forwards and backwards until the sound ends. loop: it starts again (visible jump). "
            "remap: it is stretched or squeezed."
            " silence: as long as the picture, the mouth closes when the sound is over."
        ),
    )


def lip_references_input() -> io.Input:
    return io.Int.Input(
        "lip_references",
        default=DEFAULTS.lip_references,
        min=1,
        max=100,
        step=1,
        advanced=True,
        tooltip=(
            "Frames that lend the mouth its pixels, spread from closed to wide open. More give truer "
            "teeth and lips and take more time and"
            " memory."
        ),
    )


def face_references_input() -> io.Input:
    return io.Int.Input(
        "face_references",
        default=DEFAULTS.face_references,
        min=1,
        max=25,
        step=1,
        advanced=True,
        tooltip=(
            "Neighbouring frames that lend the skin its pixels. More are steadier against flicker and "
            "take more time; few keep more detail."
        ),
    )


def lossless_input() -> io.Input:
    return io.Boolean.Input(
        "lossless",
        default=DEFAULTS.lossless,
        advanced=True,
        tooltip=(
            "On: RGB without loss, untouched pixels identical bit for bit, large files that browsers "
            "may not play. Off: H.264 in high"
            " quality."
        ),
    )


def provenance_input() -> io.Input:
    return io.Boolean.Input(
        "provenance",
        default=DEFAULTS.provenance,
        advanced=True,
        tooltip=(
            "On: the file's metadata says that AI edited it, as many platforms and laws ask. Off: "
            "it does not."
        ),
    )


def check_face(face: str | None) -> bool | str:
    """True, or the sentence that ComfyUI shows on the node before anything runs. A linked widget arrives as
    None."""
    try:
        FaceChoice.parse(face or "auto")
    except OptionsError as error:
        return str(error)
    return True
