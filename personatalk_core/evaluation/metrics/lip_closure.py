"""Do the lips close when they must, and rest when nothing is said?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...checks import check_shape
from ...config import MODEL_FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from ...errors import DependencyError

CLOSED_SHARE = (
    0.15  # of the person's range of opening above the most closed, below which lips count as closed
)
TOLERANCE = 1  # frames by which a closure may come early or late
SILENCE_DB = -35.0  # below the clip's loud moments
SILENCE_SECONDS = 0.3


def closed_level(opening: Tensor, share: float = CLOSED_SHARE) -> float:
    """The opening below which this person's lips count as closed: 5th percentile plus a share of the way to
    the 95th."""
    low, high = (float(opening.quantile(q)) for q in (0.05, 0.95))
    return low + share * (high - low)


def closures(opening: Tensor, level: float) -> list[tuple[int, int]]:
    """Runs of frames [first, last) in which (T,) openings are at most the level."""
    closed = torch.cat([torch.zeros(1), (opening <= level).float(), torch.zeros(1)]).diff()
    return list(
        zip((closed == 1).nonzero()[:, 0].tolist(), (closed == -1).nonzero()[:, 0].tolist(), strict=True)
    )


def closure_rate(
    output: Tensor, reference: Tensor, events: list[int] | None = None, tolerance: int = TOLERANCE
) -> float:
    """Of the moments at which the real speaker's lips close, the share at which the output's do.

    Args:
        output, reference: (T,) openings at 25 fps on one clock.
        events:            frames of /p/, /b/ and /m/, where they are known; None takes the reference's own
            closures.
        tolerance:         frames to either side.
    Returns:
        Share in [0, 1]; NaN where the reference never closes. The output is judged by its own closed level or
        the reference's, whichever is higher, so that a person's rest pose and a tracker's offset do not
        decide.
    """
    check_shape("reference opening", reference, len(output))
    true_level = closed_level(reference)
    level = max(true_level, closed_level(output))
    runs = closures(reference, true_level)
    if events is not None:
        runs = [
            (e, e + 1)
            for e in events
            if any(first - tolerance <= e < last + tolerance for first, last in runs)
        ]
    hits = [
        float(output[max(0, first - tolerance) : last + tolerance].min()) <= level for first, last in runs
    ]
    return sum(hits) / len(hits) if hits else float("nan")


def silent_frames(samples: Tensor, frames: int, seconds: float = SILENCE_SECONDS) -> Tensor:
    """Frames in silence of at least ``seconds``: (S,) at 16 kHz to (frames,) bool at 25 fps; frames after the
    sound count as silent."""
    check_shape("samples", samples, "S")
    padded = torch.zeros(frames * SAMPLES_PER_FRAME)
    count = min(len(samples), len(padded))
    padded[:count] = samples[:count]
    loudness = padded.reshape(frames, SAMPLES_PER_FRAME).square().mean(dim=1).clamp_min(1e-12)
    quiet = 10 * torch.log10(loudness / loudness.quantile(0.95)) < SILENCE_DB
    silent = torch.zeros(frames, dtype=torch.bool)
    for first, last in closures((~quiet).float(), 0.5):
        silent[first:last] = last - first >= seconds * MODEL_FPS
    return silent


def silence_score(vertices: Tensor, reference: Tensor, silent: Tensor, lips: Tensor) -> float:
    """Motion energy of the lips in silence, over the real speaker's: 1 is as still as the person, above is
    restless.

    Args:
        vertices, reference: (T, V, 3) canonical vertices of output and real speaker.
        silent:              (T,) bool.
        lips:                vertex numbers.
    Returns:
        Ratio of mean squared frame-to-frame motion; NaN where there is no silence of two frames.
    """
    check_shape("reference vertices", reference, *vertices.shape)
    pair = silent[1:] & silent[:-1]
    if not bool(pair.any()):
        return float("nan")
    energy, real = (
        x[:, lips].diff(dim=0).square().sum(-1).mean(-1)[pair].mean() for x in (vertices, reference)
    )
    return float((energy + 1e-9) / (real + 1e-9))


LIPS_MEET = frozenset("pbm")
PIECE_SECONDS, OVERLAP_SECONDS = 20.0, 2.0

Recogniser = Callable[[np.ndarray], list[str]]
"""(S,) at 16 kHz to one label a step, evenly spaced over the sound; a label that is no phoneme says nothing
is heard."""


def hama_recogniser() -> Recogniser:
    """The phoneme recogniser of the package ``hama``. Raises DependencyError where it is not installed."""
    try:
        # hama is of the optional extra "evaluate", so a check without it cannot resolve the import.
        from hama import ASRModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DependencyError(
            "phoneme times need a recogniser; install it with 'pip install hama'."
        ) from error
    model = ASRModel(providers=["CPUExecutionProvider"])

    def labels(samples: np.ndarray) -> list[str]:
        result = model.transcribe_waveform(samples, SAMPLE_RATE)
        return [model.decoder_tokens[number] for number in result.frame_token_ids]

    return labels


def phoneme_times(
    samples: np.ndarray, recognise: Recogniser, phonemes: frozenset[str] = LIPS_MEET
) -> list[float]:
    """Seconds at which the phonemes begin, in order; (S,) at 16 kHz of any length.

    A label counts by its first letter, so that aspiration and other marks do not matter. Long sound
    is heard in overlapping pieces, of which the inner parts are kept.
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
            if fresh and label[:1] in phonemes and low <= number * seconds < high:
                found.append(begin / SAMPLE_RATE + number * seconds)
    return found
