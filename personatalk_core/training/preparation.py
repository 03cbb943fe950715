"""A folder of videos -> tracked, fitted clips with their sound, cached so that a second run begins where the first ended.

Either trainer can use it. Speakers and lags may be stated in an ``INDEX.tsv`` beside the videos or one folder up, with
columns file, speaker and av_lag_frames; otherwise a speaker is the folder a video lies in, or, directly in the data
folder, the part of its name before two underscores.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from ..config import FaceChoice
from ..errors import FaceError, MediaError, OptionsError, WeightsError
from ..geometry.face_model import FaceModel
from ..geometry.fitting import estimate_geometry
from ..geometry.geometry_file import load_geometry, save_geometry
from ..media.audio import read_audio, speech_samples
from ..media.video_reader import VideoReader, probe
from ..tracking.track import track_face
from ..types import FaceGeometry, OnProgress, VideoInfo
from ..weights.checkpoint import sha256_of, write_atomically

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v")


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """One video that can be trained on.

    path: of the video.  name: of the clip, unique in its folder.  speaker: who speaks.  geometry: the fitted
    coefficients.  samples: (S,) mono at 16 kHz on the video's clock, None when there is no usable sound.
    lag: frames at 25 fps by which the mouth comes later than its sound, None when not stated.
    """

    path: Path
    name: str
    speaker: str
    geometry: FaceGeometry
    samples: np.ndarray | None
    lag: float | None


def prepare_folder(
    data: Path, cache: Path, face_model: FaceModel, on_progress: OnProgress | None = None
) -> tuple[list[PreparedClip], dict[str, str]]:
    """Track and fit every video below a folder.

    Args:
        data:       folder of videos, searched with its subfolders.
        cache:      where geometry and sound are kept, by the video's sha256 and the face model's.
        face_model: the one to fit.
        on_progress: videos done and in all.
    Returns:
        The clips with a usable face, in the order of their paths, and why each other video was left out.
    Raises:
        OptionsError: there is no video, or none of them has a usable face.
    """
    data, cache = Path(data), Path(cache)
    videos = sorted(p for p in data.rglob("*") if p.suffix.lower() in VIDEO_ENDINGS and p.is_file())
    if not videos:
        raise OptionsError(f"{data} holds no video; expected files ending in {', '.join(VIDEO_ENDINGS)}.")
    index = read_index(data)
    clips: list[PreparedClip] = []
    left_out: dict[str, str] = {}
    for number, video in enumerate(videos):
        name = video.relative_to(data).as_posix()
        try:
            clips.append(prepare_clip(video, name, cache, face_model, index.get(video.resolve(), {}), data))
        except (FaceError, MediaError) as error:
            left_out[name] = str(error)
        if on_progress is not None:
            on_progress(number + 1, len(videos))
    if not clips:
        reason = next(iter(left_out.values()))
        raise OptionsError(f"none of the {len(videos)} videos in {data} has a usable face; the first was left out because: {reason}")
    return clips, left_out


def prepare_clip(video: Path, name: str, cache: Path, face_model: FaceModel, row: dict[str, str], data: Path) -> PreparedClip:
    """Track and fit one video, or take it from the cache. Raises FaceError or MediaError when it cannot be used."""
    key = f"{sha256_of(video)[:16]}_{face_model.sha256[:8]}"
    info: VideoInfo | None = None
    geometry_path, sound_path = cache / f"{key}.geometry.safetensors", cache / f"{key}.sound.safetensors"
    try:
        geometry = load_geometry(geometry_path, face_model)
    except WeightsError:
        info = probe(video)
        geometry = fit_video(info, face_model)
        save_geometry(geometry_path, geometry)
    if sound_path.is_file():
        samples = load_file(sound_path)["samples"]
    else:
        samples = _sound(info or probe(video))
        write_atomically(sound_path, save({"samples": samples}))
    silent = row.get("speech_audio", "yes") != "yes" or len(samples) == 0
    speaker = row.get("speaker") or speaker_of(video, data)
    lag = float(row["av_lag_frames"]) if row.get("av_lag_frames") else None
    return PreparedClip(video, name, speaker, geometry, None if silent else samples, lag)


def fit_video(info: VideoInfo, face_model: FaceModel) -> FaceGeometry:
    """Geometry of the most prominent face of a video (paper 3.1)."""
    track = track_face(VideoReader(info).frames(), info.times, (info.height, info.width), FaceChoice.parse("auto"), source=info.sha256)
    geometry = estimate_geometry(track, face_model)
    return replace(geometry, durations=geometry.times.new_tensor(info.durations))


def speaker_of(video: Path, data: Path) -> str:
    """The folder a video lies in, or the part of its name before two underscores."""
    return video.parent.relative_to(data).as_posix() if video.parent != data else video.stem.split("__")[0]


def read_index(data: Path) -> dict[Path, dict[str, str]]:
    """Rows of an ``INDEX.tsv`` in the folder or one up, by the absolute path of the video; empty when there is none."""
    for folder in (data, data.parent):
        table = folder / "INDEX.tsv"
        if table.is_file():
            with table.open(newline="", encoding="utf-8") as stream:
                return {(folder / row["file"]).resolve(): row for row in csv.DictReader(stream, delimiter="\t") if row.get("file")}
    return {}


def _sound(info: VideoInfo) -> np.ndarray:
    if not info.has_audio:
        return np.zeros(0, np.float32)
    try:
        return speech_samples(read_audio(info.path))
    except MediaError:
        return np.zeros(0, np.float32)
