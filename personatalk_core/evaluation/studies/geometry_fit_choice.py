"""Choose the weights of the fitting on training clips (paper 3.1, whose lambda has no stated units).

``personatalk study geometry-fit-choice FOLDER_OF_TRAINING_VIDEOS`` tries every
weight at half and twice its size, one at a time, and prints what each does to error and jitter. A setting is
allowed when on every clip held-out landmarks are met no worse than by fitting each frame alone (the 5 % that
is bearable is kept for people not seen here) and closed lips open by at most half a percent. Among those
allowed, the least sum of two ratios wins: jitter, and held-out error over that of each frame alone. A weight
moves only for a gain above ``NOTICEABLE``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ...dubbing.progress import Progress
from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...geometry.fitting import DEFAULT_WEIGHTS
from ...geometry.fitting_terms import FittingWeights
from ...types import FaceTrack, FrameStatus
from .geometry_fit import fit_report, tracks_of, videos_in

# those two set the scale
CHOSEN = tuple(f.name for f in fields(FittingWeights) if f.name not in ("landmark", "tempo"))
FACTORS = (0.5, 2.0)
MAX_OVER, MAX_CLOSED = 0.0, 0.5  # percent
NOTICEABLE = 0.02
MIN_SEEN = 0.9  # of the frames that are used; a clip that mostly shows nobody says nothing about smoothing


@dataclass(frozen=True)
class Trial:
    """Means over clips of one setting: jitter on still heads, held-out error as a ratio; and the worst clip's
    percentages."""

    weights: FittingWeights
    jitter: float
    held_out: float
    worst_over: float
    worst_closed: float

    @property
    def allowed(self) -> bool:
        return self.worst_over <= MAX_OVER and self.worst_closed <= MAX_CLOSED

    @property
    def score(self) -> float:
        """Jitter plus held-out ratio; infinite where not allowed."""
        return self.jitter + self.held_out if self.allowed else float("inf")


def try_weights(tracks: Mapping[str, FaceTrack], face_model: FaceModel, weights: FittingWeights) -> Trial:
    """Fit every track with these weights."""
    reports = [fit_report(track, face_model, weights, known=False) for track in tracks.values()]
    jitter = np.nanmean([report.jitter for report in reports])
    held_out = np.mean([report.held_out / report.held_out_raw for report in reports])
    return Trial(
        weights, float(jitter), float(held_out), max(r.over for r in reports), max(r.closed for r in reports)
    )


def choose_weights(
    tracks: Mapping[str, FaceTrack],
    face_model: FaceModel,
    start: FittingWeights = DEFAULT_WEIGHTS,
    *,
    rounds: int = 1,
    report: Callable[[str], object] | None = None,
) -> FittingWeights:
    """Coordinate descent from ``start``.

    Args:
        rounds: how often every weight is tried; stops early when none moves.
        report: called with a line of text for each trial.
    Returns:
        The best weights allowed; ``start`` itself when nothing is noticeably better.
    """
    report = report or (lambda line: None)
    best = try_weights(tracks, face_model, start)
    report(_line("start", best))
    for _ in range(rounds):
        before = best
        for name in CHOSEN:
            middle = best
            for factor in FACTORS:
                trial = try_weights(
                    tracks,
                    face_model,
                    replace(middle.weights, **{name: getattr(middle.weights, name) * factor}),
                )
                report(_line(f"{name} {getattr(trial.weights, name):g}", trial))
                if trial.score < best.score - NOTICEABLE:
                    best = trial
        if best is before:
            break
    return best.weights


def shortened(track: FaceTrack, frames: int) -> FaceTrack:
    """The middle frames of a track."""
    first = max(0, (track.frame_count - frames) // 2)
    middle = slice(first, first + frames)
    return replace(
        track,
        **{
            name: getattr(track, name)[middle]
            for name in ("landmarks", "blendshapes", "status", "shot", "times")
        },
    )


def one_a_speaker(videos: Sequence[Path], count: int) -> list[Path]:
    """The largest file of each speaker (the name before ``__``), of the ``count`` speakers whose files are
    largest."""
    by_speaker: dict[str, Path] = {}
    for path in sorted(videos, key=lambda path: (path.stat().st_size, path.name)):
        by_speaker[path.stem.split("__")[0]] = path
    return sorted(sorted(by_speaker.values(), key=lambda path: (path.stat().st_size, path.name))[-count:])


def _line(label: str, trial: Trial) -> str:
    verdict = f"{trial.score:.3f}" if trial.allowed else "not allowed"
    return (
        f"{label:<24} jitter {trial.jitter:.3f}  held-out {trial.held_out:.3f}  worst over "
        f"{trial.worst_over:+.1f} %  worst closed {trial.worst_closed:+.2f} %  {verdict}\n"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("data", type=Path, help="folder of training videos, named SPEAKER__ANYTHING")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="DIR",
        help="keep tracks there, so that a second run need not track again",
    )
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=100, help="of each clip, from its middle")
    parser.add_argument("--rounds", type=int, default=1)


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The weights chosen; every trial is printed as it ends."""
    if min(args.clips, args.frames, args.rounds) < 1:
        raise OptionsError("clips, frames and rounds are counts but one is below 1; give positive ones.")
    videos = one_a_speaker(videos_in(args.data), args.clips)
    tracks = {
        path.stem: shortened(track, args.frames) for path, track in tracks_of(videos, args.tracks).items()
    }
    tracks = {
        name: track
        for name, track in tracks.items()
        if (track.status == int(FrameStatus.OK)).mean() >= MIN_SEEN
    }
    if not tracks:
        raise OptionsError(
            f"no clip shows a face in {MIN_SEEN:.0%} of its frames; pass clips of talking people."
        )
    weights = choose_weights(tracks, load_face_model(), rounds=args.rounds, report=sys.stdout.write)
    return f"chosen: {weights}" + ("\n(those that ship)" if weights == DEFAULT_WEIGHTS else "")
