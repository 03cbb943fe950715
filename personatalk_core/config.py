"""User knobs and the constants of the method.

Derived constants live beside their formula; network sizes live in dataclasses inside the checkpoints;
what a user may turn lives in :class:`DubOptions`, the one option table, whose :meth:`DubOptions.verify`
refuses contradictions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Literal

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
class Option:
    """One row of the option table.

    From it come the command line's option, the node's widget, the field of a batch's manifest, the range that
    :meth:`DubOptions.verify` holds, and the line of the documentation.

    Attributes:
        name, default: of the field of :class:`DubOptions`.
        help: the command line's words, as argparse prints them; empty: the name says it.
        tooltip: the node's words, and the documentation's; empty: the same as ``help``.
        metavar: how the command line shows the value; None: the name or the choices.
        choices: the values that are accepted; empty: any, within the range.
        min, max: the range that is accepted, both ends included; None: open.
        widget_max: where a node's widget ends, if the range is open.  step: of the widget.
        advanced: nodes show it only when asked to.
        loads_models: models are loaded with it: it holds for a whole batch and is no field of the manifest.
        refusal: the sentence about a value outside the range; braces name fields.
    """

    name: str
    default: Any
    help: str = ""
    tooltip: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    widget_max: float | None = None
    step: float | None = None
    advanced: bool = False
    loads_models: bool = False
    refusal: str = ""

    @property
    def kind(self) -> type:
        """str, int, float or bool."""
        return type(self.default)

    def accepts(self, value: Any) -> bool:
        """Whether the value is one of the choices or within the range; NaN never is."""
        if self.choices:
            return value in self.choices
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


def _option(default: Any, **row: Any) -> Any:
    """A field of :class:`DubOptions` with its row of the table."""
    return field(default=default, metadata=row)


_CHOICE_REFUSAL = "{name} is '{value}' but expected one of {choices}."
_COUNTS_REFUSAL = (
    "reference counts are {lip_references} lip and {face_references} face but each must be at least 1."
)


@dataclass(frozen=True)
class DubOptions:
    """What a user may choose for one dub: the option table, read with :func:`option_fields`."""

    length: LengthMode = _option(
        "cut_off",
        choices=LENGTH_MODES,
        help="what to do when sound and picture differ in length",
        tooltip=(
            "What happens where sound and picture differ in length. cut_off: the result is as long as the "
            "shorter one. bounce: the picture runs forwards and backwards until the sound ends. loop: it "
            "starts again (visible jump). remap: it is stretched or squeezed. silence: as long as the "
            "picture, the mouth closes when the sound is over."
        ),
    )
    face: str = _option(
        "auto",
        metavar="auto|largest|index:N|point:X,Y@FRAME",
        help="which face, where there are several",
        tooltip=(
            "Which face is dubbed where there are several; all others stay untouched. auto: the one seen "
            "longest and largest. largest: the biggest. index:1: the second from the left. "
            "point:320,180@0: the face at that pixel of frame 0."
        ),
        advanced=True,
    )
    style_strength: float = _option(
        1.0,
        min=0.0,
        max=2.0,
        step=0.05,
        metavar="0..2",
        help="0 average speaker, 1 the person, 2 exaggerated",
        tooltip=(
            "How strongly the speaking style shows: 0 speaks like the average person, 1 like the style, 2 "
            "exaggerates it."
        ),
        refusal=(
            "style strength is {style_strength} but expected a number from 0 (average speaker) to 2 "
            "(exaggerated)."
        ),
    )
    lip_references: int = _option(
        50,
        min=1,
        widget_max=100,
        step=1,
        metavar="N",
        help="N_l of the paper, 25 there (default %(default)s)",
        tooltip=(
            "Frames that lend the mouth its pixels, spread from closed to wide open. More give truer teeth "
            "and lips and take more time and memory."
        ),
        advanced=True,
        refusal=_COUNTS_REFUSAL,
    )
    face_references: int = _option(
        5,
        min=1,
        widget_max=25,
        step=1,
        metavar="N",
        help="N_f of the paper (default %(default)s)",
        tooltip=(
            "Neighbouring frames that lend the skin its pixels. More are steadier against flicker and take "
            "more time; few keep more detail."
        ),
        advanced=True,
        refusal=_COUNTS_REFUSAL,
    )
    exclude_window: int = _option(
        0,
        min=0,
        metavar="K",
        help="references are at least K frames away (default %(default)s)",
        tooltip="References for a frame are at least this many frames away from it; 0 allows all.",
        refusal="exclude window is {exclude_window} frames but expected 0 or more.",
    )
    device: str = _option(
        "auto",
        choices=DEVICES,
        help="auto takes the GPU where there is one",
        tooltip="Where the networks compute. auto takes the GPU where there is one.",
        loads_models=True,
    )
    dtype: str = _option(
        "auto",
        choices=DTYPES,
        help="number format of the renderer",
        tooltip=(
            "Number format of the renderer. auto: fp32, the format the weights were checked in. bf16 and "
            "fp16 take half the memory on a GPU and change pixels slightly; fp16 is refused on a CPU."
        ),
        advanced=True,
        loads_models=True,
    )
    seed: int = _option(
        0, tooltip="Seed of the random generator: the same seed, input and device give the same bytes."
    )
    lossless: bool = _option(
        False,
        help="lossless RGB instead of H.264 yuv420p",
        tooltip=(
            "On: RGB without loss, untouched pixels identical bit for bit, large files that browsers may "
            "not play. Off: H.264 in high quality."
        ),
        advanced=True,
    )
    provenance: bool = _option(
        True,
        help='do not write the "AI-edited" metadata',
        tooltip=(
            "On: the file's metadata says that AI edited it, as many platforms and laws ask. Off: it does "
            "not."
        ),
        advanced=True,
    )
    initializer: str = _option(
        LANDMARKS,
        metavar="landmarks|FILE",
        help="FILE: Deng et al.'s network as .safetensors",
        tooltip=(
            "What the fitting of the face starts from. landmarks: the tracked face. A file of "
            "models/personatalk/initializers: the coefficient network of Deng et al., as the paper has it, "
            "converted to safetensors by you; its licence forbids shipping it."
        ),
        advanced=True,
        loads_models=True,
    )

    def verify(self) -> DubOptions:
        """Return self, or raise OptionsError with one sentence about the first contradiction.

        Looked at in this order: choices that are not offered, numbers outside their range, unreadable texts.
        """
        values = vars(self)
        options = sorted(option_fields().values(), key=lambda option: not option.choices)
        for option in options:
            if not option.accepts(values[option.name]):
                names = {"name": option.name, "value": values[option.name]}
                refusal = option.refusal or _CHOICE_REFUSAL
                raise OptionsError(refusal.format(**names, choices=", ".join(option.choices), **values))
        if not self.initializer:
            raise OptionsError(
                f"initializer is empty but expected {LANDMARKS} or the path of a coefficient network."
            )
        FaceChoice.parse(self.face)
        return self


def option_fields() -> dict[str, Option]:
    """The option table: a row a field of :class:`DubOptions`, by name, in the order of the fields."""
    return {field.name: Option(field.name, field.default, **field.metadata) for field in fields(DubOptions)}


@dataclass(frozen=True)
class FaceChoice:
    """Which face of several to dub, parsed from ``auto | largest | index:N | point:X,Y@FRAME``."""

    kind: Literal["auto", "largest", "index", "point"]
    index: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    frame: int = 0

    @staticmethod
    def parse(text: str) -> FaceChoice:
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
            f"face is '{text}' but expected auto, largest, index:N (N from 0) or point:X,Y@FRAME, such as "
            "point:320,180@0."
        )
