"""Do the lips close when they must, and rest when nothing is said?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_shape
from ..config import MODEL_FPS, SAMPLES_PER_FRAME

CLOSED_SHARE = 0.15  # of the person's range of opening above the most closed, below which lips count as closed
TOLERANCE = 1  # frames by which a closure may come early or late
SILENCE_DB = -35.0  # below the clip's loud moments
SILENCE_SECONDS = 0.3


def closed_level(opening: Tensor, share: float = CLOSED_SHARE) -> float:
    """The opening below which this person's lips count as closed: 5th percentile plus a share of the way to the 95th."""
    low, high = (float(opening.quantile(q)) for q in (0.05, 0.95))
    return low + share * (high - low)


def closures(opening: Tensor, level: float) -> list[tuple[int, int]]:
    """Runs of frames [first, last) in which (T,) openings are at most the level."""
    closed = torch.cat([torch.zeros(1), (opening <= level).float(), torch.zeros(1)]).diff()
    return list(zip((closed == 1).nonzero()[:, 0].tolist(), (closed == -1).nonzero()[:, 0].tolist(), strict=True))


def closure_rate(output: Tensor, reference: Tensor, events: list[int] | None = None, tolerance: int = TOLERANCE) -> float:
    """Of the moments at which the real speaker's lips close, the share at which the output's do.

    Args:
        output, reference: (T,) openings at 25 fps on one clock.
        events:            frames of /p/, /b/ and /m/, where they are known; None takes the reference's own closures.
        tolerance:         frames to either side.
    Returns:
        Share in [0, 1]; NaN where the reference never closes. The output is judged by its own closed level or the
        reference's, whichever is higher, so that a person's rest pose and a tracker's offset do not decide.
    """
    check_shape("reference opening", reference, len(output))
    true_level = closed_level(reference)
    level = max(true_level, closed_level(output))
    runs = closures(reference, true_level)
    if events is not None:
        runs = [(e, e + 1) for e in events if any(first - tolerance <= e < last + tolerance for first, last in runs)]
    hits = [float(output[max(0, first - tolerance) : last + tolerance].min()) <= level for first, last in runs]
    return sum(hits) / len(hits) if hits else float("nan")


def silent_frames(samples: Tensor, frames: int, seconds: float = SILENCE_SECONDS) -> Tensor:
    """Frames in silence of at least ``seconds``: (S,) at 16 kHz to (frames,) bool at 25 fps; frames after the sound count as silent."""
    check_shape("samples", samples, "S")
    padded = torch.zeros(frames * SAMPLES_PER_FRAME)
    kept = min(len(samples), len(padded))
    padded[:kept] = samples[:kept]
    loudness = padded.reshape(frames, SAMPLES_PER_FRAME).square().mean(dim=1).clamp_min(1e-12)
    quiet = 10 * torch.log10(loudness / loudness.quantile(0.95)) < SILENCE_DB
    silent = torch.zeros(frames, dtype=torch.bool)
    for first, last in closures((~quiet).float(), 0.5):
        silent[first:last] = last - first >= seconds * MODEL_FPS
    return silent


def silence_score(vertices: Tensor, reference: Tensor, silent: Tensor, lips: Tensor) -> float:
    """Motion energy of the lips in silence, over the real speaker's: 1 is as still as the person, above is restless.

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
    energy, real = (x[:, lips].diff(dim=0).square().sum(-1).mean(-1)[pair].mean() for x in (vertices, reference))
    return float((energy + 1e-9) / (real + 1e-9))
