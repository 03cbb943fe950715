"""A folder of videos -> tracked, fitted and checked clips with their sound, cached so that a second run
begins where the first ended.

Either trainer can use it, on raw videos or on a folder that ``prepare`` wrote. Speakers and lags may be
stated in an ``INDEX.tsv`` beside the videos or one folder up, with columns file, speaker and av_lag_frames;
otherwise a speaker is the folder a video lies in, or, directly in the data folder, the part of its name
before two underscores.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from ...errors import FaceError, FaceModelMismatchError, MediaError, OptionsError, WeightsError
from ...evaluation.judges.networks import bundled_sound_opening
from ...evaluation.metrics.lip_sync_score import HearOpening, hears_with
from ...geometry.face_model import FaceModel
from ...geometry.fitting import estimate_geometry
from ...geometry.geometry_file import load_geometry, save_geometry
from ...media.audio_stream import read_audio, speech_samples
from ...media.video_reader import VideoReader, probe
from ...speech.networks import load_speech_networks
from ...tracking.landmarks import FaceLandmarker
from ...tracking.track import track_face
from ...types import FaceGeometry, OnProgress, VideoInfo
from ...weights.checkpoint import sha256_of, write_atomically
from .clip_faults import (
    ClipReadings,
    other_faces,
    picture_fault,
    searched_frames,
    sound_fault,
    swell,
    sync_of,
)

MANIFEST = "manifest.json"  # of a folder that ``prepare`` wrote
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v")


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """One video that can be trained on.

    path: of the video.  name: of the clip, unique in its folder.  speaker: who speaks.  geometry: the fitted
    coefficients.  samples: (S,) mono at 16 kHz on the video's clock, None when there is no usable sound.
    lag: frames at 25 fps by which the mouth comes later than its sound, None when not stated.
    sound_fault: why there is no usable sound, a sentence; empty where there is.  readings: what the filter
        measured.
    """

    path: Path
    name: str
    speaker: str
    geometry: FaceGeometry
    samples: np.ndarray | None
    lag: float | None
    sound_fault: str = ""
    readings: ClipReadings = ClipReadings()


class ClipTools:
    """What preparing many clips shares, made when first needed: the landmarker, and what hears a mouth in a
    sound."""

    def __init__(self, face_model: FaceModel) -> None:
        self.face_model = face_model
        self._landmarker: FaceLandmarker | None = None
        self._hear: HearOpening | None = None

    def __enter__(self) -> ClipTools:
        return self

    def __exit__(self, *_: object) -> None:
        if self._landmarker is not None:
            self._landmarker.close()

    @property
    def landmarker(self) -> FaceLandmarker:
        self._landmarker = self._landmarker or FaceLandmarker()
        return self._landmarker

    @property
    def hear(self) -> HearOpening | None:
        """The bundled speech networks; for a face model of the user's, which they do not fit, the bundled
        linear judge."""
        if self._hear is None:
            try:
                networks = load_speech_networks()
                networks.check_face_model(self.face_model)
                self._hear = hears_with(networks, self.face_model)
            except FaceModelMismatchError:
                self._hear = bundled_sound_opening()
        return self._hear


def prepare_folder(
    data: Path, cache: Path, face_model: FaceModel, on_progress: OnProgress | None = None
) -> tuple[list[PreparedClip], dict[str, str]]:
    """Track, fit and check every video below a folder.

    Args:
        data:       folder of videos, searched with its subfolders.
        cache:      where geometry, sound and readings are kept, by the video's sha256 and the face model's.
        face_model: the one to fit.
        on_progress: videos done and in all.
    Returns:
        The clips whose picture has no fault, in the order of their paths, and why each other video was left
        out.
    Raises:
        OptionsError: there is no video, or none of them has a usable face.
    """
    data, cache = Path(data), Path(cache)
    videos = videos_below(data)
    index = read_index(data)
    clips: list[PreparedClip] = []
    left_out: dict[str, str] = {}
    with ClipTools(face_model) as tools:
        for number, video in enumerate(videos):
            name = video.relative_to(data).as_posix()
            try:
                clips.append(prepare_clip(video, name, cache, tools, index.get(video.resolve(), {}), data))
            except (FaceError, MediaError) as error:
                left_out[name] = str(error)
            if on_progress is not None:
                on_progress(number + 1, len(videos))
    if not clips:
        reason = next(iter(left_out.values()))
        raise OptionsError(
            f"none of the {len(videos)} videos in {data} has a usable face; the first was left out "
            f"because: {reason}"
        )
    return clips, left_out


def videos_below(data: Path) -> list[Path]:
    """Every video in a folder and its subfolders, sorted; of a prepared folder those that its manifest names.
    Raises OptionsError: none."""
    videos = sorted(p for p in data.rglob("*") if p.suffix.lower() in VIDEO_ENDINGS and p.is_file())
    if (data / MANIFEST).is_file():
        known = set(read_index(data))
        videos = [video for video in videos if video.resolve() in known]
    if not videos:
        raise OptionsError(f"{data} holds no video; expected files ending in {', '.join(VIDEO_ENDINGS)}.")
    return videos


def prepare_clip(
    video: Path, name: str, cache: Path, tools: ClipTools, row: dict[str, str], data: Path
) -> PreparedClip:
    """Track, fit and check one video, or take it from the cache.

    Raises:
        FaceError, MediaError: the video cannot be read, shows no face, or its picture has a fault (see
            ``clip_faults``).
    """
    face_model = tools.face_model
    key = f"{sha256_of(video)[:16]}_{face_model.sha256[:8]}"
    info: VideoInfo | None = None
    geometry_path, sound_path = cache / f"{key}.geometry.safetensors", cache / f"{key}.sound.safetensors"
    try:
        geometry = load_geometry(geometry_path, face_model)
    except WeightsError:
        info = probe(video)
        geometry = fit_video(info, face_model, tools.landmarker)
        save_geometry(geometry_path, geometry)
    if sound_path.is_file():
        samples = load_file(sound_path)["samples"]
    else:
        samples = _sound(info or probe(video))
        write_atomically(sound_path, save({"samples": samples}))
    said_silent = row.get("speech_audio", "yes") != "yes"
    readings = _readings(
        cache / f"{key}.readings.json", lambda: info or probe(video), geometry, samples, said_silent, tools
    )
    fault = picture_fault(geometry, face_model, readings)
    if fault:
        raise FaceError(fault)
    quiet = "no speech, says the index." if said_silent else sound_fault(samples, readings)
    speaker = row.get("speaker") or speaker_of(video, data)
    lag = float(row["av_lag_frames"]) if row.get("av_lag_frames") else None
    return PreparedClip(video, name, speaker, geometry, None if quiet else samples, lag, quiet, readings)


def _readings(
    path: Path,
    probed: Callable[[], VideoInfo],
    geometry: FaceGeometry,
    samples: np.ndarray,
    said_silent: bool,
    tools: ClipTools,
) -> ClipReadings:
    """What the filter measures, from the cache where it was measured before."""
    if path.is_file():
        try:
            return ClipReadings(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            pass  # of another release: measure again
    index = searched_frames(geometry.frame_count)
    faces = other_faces(
        VideoReader(probed()).frames(index), geometry, index, tools.face_model, tools.landmarker
    )
    loud = None if said_silent or not len(samples) else swell(samples)
    sync = (
        None
        if loud is None or tools.hear is None
        else sync_of(samples, geometry, tools.face_model, tools.hear)
    )
    readings = ClipReadings(faces, loud, *(sync or (None, None)))
    write_atomically(path, json.dumps(asdict(readings)).encode())
    return readings


def fit_video(
    info: VideoInfo, face_model: FaceModel, landmarker: FaceLandmarker | None = None
) -> FaceGeometry:
    """Geometry of the most prominent face of a video (paper 3.1)."""
    track = track_face(VideoReader(info).clip_frames(), landmarker=landmarker)
    geometry = estimate_geometry(track, face_model)
    return replace(geometry, durations=geometry.times.new_tensor(info.durations))


def speaker_of(video: Path, data: Path) -> str:
    """The folder a video lies in, or the part of its name before two underscores."""
    return video.parent.relative_to(data).as_posix() if video.parent != data else video.stem.split("__")[0]


def read_index(data: Path) -> dict[Path, dict[str, str]]:
    """Rows of an ``INDEX.tsv`` in the folder or one up, or of a prepared folder's manifest, by the video's
    absolute path."""
    if (data / MANIFEST).is_file():
        entries = json.loads((data / MANIFEST).read_text(encoding="utf-8"))["clips"].values()
        rows = (
            (e, {"speaker": e["speaker"], "speech_audio": "yes" if e["sound"] else "no"}) for e in entries
        )
        return {
            (data / e["video"]["file"]).resolve(): row
            | ({} if e["lag"] is None else {"av_lag_frames": str(e["lag"])})
            for e, row in rows
        }
    for folder in (data, data.parent):
        table = folder / "INDEX.tsv"
        if table.is_file():
            with table.open(newline="", encoding="utf-8") as stream:
                return {
                    (folder / row["file"]).resolve(): row
                    for row in csv.DictReader(stream, delimiter="\t")
                    if row.get("file")
                }
    return {}


def set_aside(data: Path) -> set[str]:
    """Speakers in the validation split of a folder that ``prepare`` wrote; of any other folder nobody."""
    path = Path(data) / MANIFEST
    if not path.is_file():
        return set()
    entries = json.loads(path.read_text(encoding="utf-8"))["clips"].values()
    return {entry["speaker"] for entry in entries if entry.get("split") == "validation"}


def _sound(info: VideoInfo) -> np.ndarray:
    if not info.has_audio:
        return np.zeros(0, np.float32)
    try:
        return speech_samples(read_audio(info.path))
    except MediaError:
        return np.zeros(0, np.float32)
