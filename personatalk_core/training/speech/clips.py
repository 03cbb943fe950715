"""Clips that teach the speech stage: sound, lower-face expression at 25 fps, who speaks, and how far they are
out of step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...checks import check_shape
from ...errors import OptionsError


@dataclass(frozen=True, eq=False)
class SpeechClip:
    """One clip of one person.

    samples (S,) float32 at 16 kHz; sample 0 sounds when frame 0 begins.  expression (T, E_low) at 25 fps.
    valid (T,) bool: a usable face.  identity (A,).  lag: frames by which the mouth comes later than its
    sound.
    """

    name: str
    speaker: str
    samples: np.ndarray
    expression: Tensor
    valid: Tensor
    identity: Tensor
    lag: float = 0.0

    def __post_init__(self) -> None:
        check_shape("clip samples", self.samples, "S")
        frames = check_shape("clip expression", self.expression, "T", "E")["T"]
        check_shape("clip valid", self.valid, frames)

    @property
    def frame_count(self) -> int:
        return len(self.expression)


def hold_out_speakers(
    clips: list[SpeechClip], share: float, seed: int, names: Sequence[str] = ()
) -> tuple[list[SpeechClip], list[SpeechClip]]:
    """Split clips into training and validation by speaker, so that no validation speaker is trained on.

    Speakers named are held out, and nobody else. Where none is named, speakers with the most material stay in
    training; of the others, whole speakers are drawn until ``share`` of all speakers (at least one, when
    there are two) is held out.

    Raises:
        OptionsError: a speaker named does not exist, or nobody would be left to train on.
    """
    if names:
        known = {clip.speaker for clip in clips}
        if not set(names) < known:
            raise OptionsError(
                f"speakers to hold out are {', '.join(names)}; expected some, not all, of "
                f"{', '.join(sorted(known))}."
            )
        return [c for c in clips if c.speaker not in names], [c for c in clips if c.speaker in names]
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0.0) + clip.frame_count
    ordered = sorted(seconds, key=lambda s: (seconds[s], s))
    candidates = ordered[: max(1, int(len(ordered) * 0.8))] if len(ordered) > 1 else []
    count = min(len(candidates), max(1, round(share * len(ordered)))) if candidates else 0
    held = set(np.random.default_rng(seed).permutation(candidates)[:count].tolist())
    return [c for c in clips if c.speaker not in held], [c for c in clips if c.speaker in held]
