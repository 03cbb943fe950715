"""The clips of a quality run: which there are, what each speaks, and their fitted geometry, cached by the
video's hash."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ... import pipeline
from ...dubbing.run import Run
from ...errors import FaceError, MediaError, OptionsError, PersonaTalkError
from ...geometry.geometry_file import load_geometry, save_geometry
from ...media.video_reader import probe
from ...types import FaceGeometry, VideoInfo
from .rows import QualityClip, in_step

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".m4v")


def talking_clips(folder: Path) -> tuple[list[VideoInfo], dict[str, str]]:
    """Videos with sound in a folder, in the order of their names, and why the others are left out.

    Raises:
        MediaError: no folder, or fewer than two videos with sound: each speaks the next one's words, too.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder; pass a folder of videos with one talking person each.")
    found: list[VideoInfo] = []
    left_out: dict[str, str] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_ENDINGS):
        try:
            info = probe(path)
        except PersonaTalkError as error:
            left_out[path.name] = str(error)
            continue
        if info.has_audio:
            found.append(info)
        else:
            left_out[path.name] = "no sound"
    if len(found) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "no videos"
        raise MediaError(
            f"{folder} holds {len(found)} videos with sound but the protocol needs two ({reasons})."
        )
    return found, left_out


def choose_clips(found: Sequence[VideoInfo], chosen: Sequence[str] | None) -> list[VideoInfo]:
    """Some of the clips. chosen: one number, for the first so many; or beginnings of file names; None: all.

    Raises:
        OptionsError: a name that no file begins with, or a number below 1.
    """
    if not chosen:
        return list(found)
    if len(chosen) == 1 and chosen[0].lstrip("-").isdigit():
        if int(chosen[0]) < 1:
            raise OptionsError(f"{chosen[0]} clips were asked for but expected 1 or more.")
        return list(found[: int(chosen[0])])
    for name in chosen:
        if not any(info.path.name.startswith(name) for info in found):
            raise OptionsError(
                f"no clip begins with '{name}'; there are {', '.join(info.path.name for info in found)}."
            )
    return [info for info in found if any(info.path.name.startswith(name) for name in chosen)]


def load_clip(
    info: VideoInfo, following: Path, out: Path, run: Run, lags: Mapping[str, float]
) -> QualityClip:
    """Fit one clip, or take it from ``out/geometry``, and write the sounds it speaks, in step with the
    picture, to ``out/sound``.

    Args:
        following: the next video of the folder, whichever clips are chosen: its sound is the foreign one.
        lags:      by file name; see :func:`read_lags`.
    Raises:
        FaceError, MediaError: the clip cannot be used.
    """
    geometry = cached_geometry(info, run, out / "geometry")
    if not bool(geometry.usable.any()):
        raise FaceError(f"no frame of {info.path} shows a usable face.")
    own, foreign = (
        in_step(p, out / "sound" / f"{p.stem}.wav", lags.get(p.name, 0.0)) for p in (info.path, following)
    )
    return QualityClip(info.path, geometry, own, foreign)


def cached_geometry(info: VideoInfo, run: Run, folder: Path | None = None) -> FaceGeometry:
    """Track and fit one video, or take its geometry from a folder, where it is kept by the video's hash.

    Raises:
        MediaError, FaceError: the video cannot be read or shows no face.
    """
    if folder is None:
        return pipeline.estimate_geometry(info, run)
    cached = Path(folder) / f"{info.path.stem}.safetensors"
    if cached.is_file():
        try:
            geometry = load_geometry(cached, run.models.face_model)
            if geometry.source == info.sha256:
                return geometry
        except PersonaTalkError:
            pass  # of another face model or release: made again below
    geometry = pipeline.estimate_geometry(info, run)
    cached.parent.mkdir(parents=True, exist_ok=True)
    save_geometry(cached, geometry)
    return geometry


def read_lags(folder: Path) -> dict[str, float]:
    """Frames at 25 fps by which the mouth comes later than its sound, by file name, from INDEX.tsv here or
    one folder up."""
    for index in (folder / "INDEX.tsv", folder.parent / "INDEX.tsv"):
        if index.is_file():
            with index.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream, delimiter="\t"))
            return {
                Path(r["file"]).name: float(r["av_lag_frames"])
                for r in rows
                if r.get("file") and r.get("av_lag_frames")
            }
    return {}
