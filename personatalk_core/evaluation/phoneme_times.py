"""When /p/, /b/ and /m/ are said, heard by a phoneme recogniser that only the evaluation uses (``pip install hama``, Apache-2.0).

The recogniser shares nothing with the networks that are measured. Its time of a sound is where its most likely label first is
that sound, good to a few hundredths of a second: compare with slack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import SAMPLE_RATE
from ..errors import DependencyError

LIPS_MEET = frozenset("pbm")
PIECE_SECONDS, OVERLAP_SECONDS = 20.0, 2.0

Recogniser = Callable[[np.ndarray], list[str]]
"""(S,) at 16 kHz to one label a step, evenly spaced over the sound; a label that is no phoneme says nothing is heard."""


def hama_recogniser() -> Recogniser:
    """The phoneme recogniser of the package ``hama``. Raises DependencyError where it is not installed."""
    try:
        from hama import ASRModel
    except ImportError as error:
        raise DependencyError("phoneme times need a recogniser; install it with 'pip install hama'.") from error
    model = ASRModel(providers=["CPUExecutionProvider"])

    def labels(samples: np.ndarray) -> list[str]:
        result = model.transcribe_waveform(samples, SAMPLE_RATE)
        return [model.decoder_tokens[number] for number in result.frame_token_ids]

    return labels


def phoneme_times(samples: np.ndarray, recognise: Recogniser, wanted: frozenset[str] = LIPS_MEET) -> list[float]:
    """Seconds at which the wanted sounds begin, in order; (S,) at 16 kHz of any length.

    A label counts as wanted by its first letter, so that aspiration and other marks do not matter. Long sound is heard in
    overlapping pieces, of which the inner parts are kept.
    """
    length, step = int(PIECE_SECONDS * SAMPLE_RATE), int((PIECE_SECONDS - OVERLAP_SECONDS) * SAMPLE_RATE)
    margin = OVERLAP_SECONDS / 2
    found: list[float] = []
    for begin in range(0, max(len(samples) - int(OVERLAP_SECONDS * SAMPLE_RATE), 1), step):
        piece = samples[begin : begin + length]
        labels = recognise(piece)
        seconds = len(piece) / SAMPLE_RATE / max(len(labels), 1)
        low = margin if begin else 0.0
        high = PIECE_SECONDS - margin if begin + length < len(samples) else PIECE_SECONDS
        for number, label in enumerate(labels):
            fresh = number == 0 or labels[number - 1] != label
            if fresh and label[:1] in wanted and low <= number * seconds < high:
                found.append(begin / SAMPLE_RATE + number * seconds)
    return found
