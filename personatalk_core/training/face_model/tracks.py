"""A folder of videos -> landmark tracks to learn a face model from, cached by each video's sha256."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ...errors import FaceError, MediaError, OptionsError
from ...media.video_reader import VideoReader, probe
from ...tracking.track import track_face
from ...types import FrameStatus, OnProgress
from ...weights.checkpoint import sha256_of, write_atomically
from ..data.preparation import VIDEO_ENDINGS, read_index, speaker_of

MIN_FRAMES = 10  # of a clip; fewer say little about a person


@dataclass(frozen=True, eq=False)
class TrackedClip:
    """landmarks (T, 478, 3): image pixels, larger z nearer.  blendshapes (T, N) in [0, 1].  person: who it
    is."""

    landmarks: np.ndarray
    blendshapes: np.ndarray
    person: str


def tracked_clips(data: Path, cache: Path, on_progress: OnProgress | None = None) -> list[TrackedClip]:
    """Track the most prominent face of every video below a folder.

    Args:
        data:  folder of videos; who speaks as in ``preparation``.
        cache: where tracks are kept.
    Returns:
        Clips of the frames whose face was seen well, in the order of their paths.
    Raises:
        OptionsError: no video, or none with enough frames of a face.
    """
    data, cache = Path(data), Path(cache)
    videos = sorted(p for p in data.rglob("*") if p.suffix.lower() in VIDEO_ENDINGS and p.is_file())
    if not videos:
        raise OptionsError(f"{data} holds no video; expected files ending in {', '.join(VIDEO_ENDINGS)}.")
    index, clips = read_index(data), []
    for number, video in enumerate(videos):
        try:
            landmarks, blendshapes = tracked_frames(video, cache)
        except (FaceError, MediaError):
            landmarks = blendshapes = np.zeros((0, 0))
        if len(landmarks) >= MIN_FRAMES:
            speaker = index.get(video.resolve(), {}).get("speaker") or speaker_of(video, data)
            clips.append(TrackedClip(landmarks, blendshapes, speaker))
        if on_progress is not None:
            on_progress(number + 1, len(videos))
    if not clips:
        raise OptionsError(
            f"none of the {len(videos)} videos in {data} shows a face for {MIN_FRAMES} frames; pass videos "
            "of people."
        )
    return clips


def tracked_frames(video: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (T, 478, 3) and blendshapes (T, 52) of the frames with status OK. Raises FaceError or
    MediaError."""
    path = cache / f"{sha256_of(video)[:16]}.track.safetensors"
    try:
        tracked = load_file(path)
    except (OSError, SafetensorError):
        info = probe(video)
        track = track_face(VideoReader(info).clip_frames())
        good = track.status == int(FrameStatus.OK)
        tracked = {
            "landmarks": track.landmarks[good].astype(np.float32),
            "blendshapes": track.blendshapes[good].astype(np.float32),
        }
        write_atomically(path, save(tracked))
    return tracked["landmarks"], tracked["blendshapes"]
