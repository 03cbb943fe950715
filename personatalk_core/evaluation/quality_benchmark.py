"""The whole protocol on a folder of talking people: what ``benchmark-quality`` runs, resumable clip by clip."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import __version__, pipeline
from ..config import DubOptions
from ..errors import MediaError, OptionsError, PersonaTalkError
from ..geometry.geometry_file import load_geometry, save_geometry
from ..media.audio import read_audio
from ..media.timing import make_timeline
from ..media.video_reader import probe
from ..models import Models
from ..progress import Stages
from ..types import FaceGeometry
from ..weights.checkpoint import write_atomically
from .judge_networks import JudgeNetworks
from .lip_sync_score import HearOpening
from .metric_table import METRICS
from .quality_report import write_report
from .quality_rows import ROWS, QualityClip, Row, in_step
from .video_scores import evaluate_video

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".m4v")


def benchmark_quality(
    folder: Path,
    out: Path,
    models: Models,
    options: DubOptions,
    stages: Stages | None = None,
    *,
    rows: Sequence[str] = tuple(ROWS),
    outputs: Mapping[str, Path] | None = None,
    judges: JudgeNetworks | None = None,
    hear: HearOpening | None = None,
    frames: int | None = None,
    most_frames: int | None = None,
    clips: int | None = None,
) -> dict:
    """Dub every clip of a folder in every row's way, score all, and write ``quality.json``, ``quality.md`` and ``quality.html``.

    Paper: 4.2 and 4.3, Tables 1 and 4. An INDEX.tsv beside the clips (columns ``file`` and ``av_lag_frames``) corrects sound
    that is out of step with its picture. What is in ``out`` already, made by the same weights, is not made again.
    Args:
        folder:  videos with sound of one talking person each; each speaks the next one's words in the foreign rows.
        out:     folder for geometry, dubs, scores and the report.
        rows:    names of ROWS.
        outputs: name to folder of somebody else's self-dubs, files named as their sources; each becomes a row.
        judges, hear: see ``evaluate_video``.
        frames:  dub the first frames of each clip only; None: all.
        most_frames: compare the pixels of at most this many frames a video.
        clips:   use the first clips only, in the order of their names.
    Returns:
        {"personatalk", "weights", "clips", "left_out": {file: reason}, "rows": {row: {"title", "mean": {...}, "clips": {file: scores}}}}.
    Raises:
        OptionsError: an unknown row.  MediaError: fewer than two usable clips.
    """
    stages, out = stages or Stages(), Path(out)
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise OptionsError(f"'{unknown[0]}' is not a row of the quality table; expected any of {', '.join(ROWS)}.")
    found, left_out = gather(Path(folder), out, models, options, stages, clips)
    if len(found) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "no videos"
        raise MediaError(f"{folder} holds {len(found)} usable clips but the protocol needs two ({reasons}).")
    plan: dict[str, Row] = {name: ROWS[name] for name in rows}
    plan |= {f"output_{name}": Row(name, "own", None) for name in outputs or {}}
    table: dict[str, dict] = {name: {"title": row.title, "mean": {}, "clips": {}} for name, row in plan.items()}
    state = _state(models, options, frames, most_frames)
    progress = stages.stage("quality")
    for number, clip in enumerate(found):
        for name, row in plan.items():
            video, truth_is_output = clip.video, row.make is None
            if name.startswith("output_"):
                video, truth_is_output = Path((outputs or {})[row.title]) / clip.video.name, False
                if not video.is_file():
                    left_out[f"{row.title}/{clip.video.name}"] = "missing"
                    continue
            elif row.make is not None:
                video = out / name / f"{clip.video.stem}.mp4"
            scores = _score(clip, name, row, video, truth_is_output, out, models, options, stages, judges, hear, frames, most_frames, state)
            table[name]["clips"][clip.video.name] = scores
        progress(number + 1, len(found))
    for entry in table.values():
        entry["mean"] = means([scores["metrics"] for scores in entry["clips"].values()])
    result = {
        "personatalk": __version__, "weights": {name: w.sha256 for name, w in models.origins.items()},
        "clips": [clip.video.name for clip in found], "frames": frames, "left_out": left_out, "rows": table,
    }  # fmt: skip
    write_report(result, out, {clip.video.name: clip.video for clip in found}, models)
    return result


def gather(
    folder: Path, out: Path, models: Models, options: DubOptions, stages: Stages, count: int | None
) -> tuple[list[QualityClip], dict[str, str]]:
    """Fit the clips of a folder, cached in ``out/geometry``; clips that cannot be used are left out with the reason."""
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder; pass a folder of videos with one talking person each.")
    lags = read_lags(folder)
    usable: list[tuple[Path, FaceGeometry, Path]] = []
    left_out: dict[str, str] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_ENDINGS):
        if count is not None and len(usable) >= count:
            break
        try:
            info = probe(path)
            if not info.has_audio:
                left_out[path.name] = "no sound"
                continue
            cached = out / "geometry" / f"{path.stem}.safetensors"
            geometry = _cached_geometry(cached, info.sha256, models)
            if geometry is None:
                geometry = pipeline.geometry_of_video(info, models, options, stages)
                cached.parent.mkdir(parents=True, exist_ok=True)
                save_geometry(cached, geometry)
            usable.append((path, geometry, in_step(path, out / "sound" / f"{path.stem}.wav", lags.get(path.name, 0.0))))
        except PersonaTalkError as error:
            left_out[path.name] = str(error)
    sounds = [sound for _, _, sound in usable]
    return [QualityClip(p, g, s, sounds[(k + 1) % len(sounds)]) for k, (p, g, s) in enumerate(usable)], left_out


def read_lags(folder: Path) -> dict[str, float]:
    """Frames at 25 fps by which the mouth comes later than its sound, by file name, from INDEX.tsv here or one folder up."""
    for index in (folder / "INDEX.tsv", folder.parent / "INDEX.tsv"):
        if index.is_file():
            with index.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream, delimiter="\t"))
            return {Path(r["file"]).name: float(r["av_lag_frames"]) for r in rows if r.get("file") and r.get("av_lag_frames")}
    return {}


def means(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, standard error and count over clips of every metric that at least one clip has."""
    found = {}
    for name in METRICS:
        values = [s[name] for s in scores if name in s]
        if values:
            mean = sum(values) / len(values)
            spread = sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
            found[name] = {"mean": mean, "error": (spread / len(values)) ** 0.5, "clips": len(values)}
    return found


def _score(
    clip: QualityClip, name: str, row: Row, video: Path, is_source: bool, out: Path, models: Models, options: DubOptions, stages: Stages,
    judges: JudgeNetworks | None, hear: HearOpening | None, frames: int | None, most_frames: int | None, state: str,
) -> dict:  # fmt: skip
    """Scores of one video, from the cache where the same weights and options made it."""
    cached = out / name / f"{clip.video.stem}.json"
    stamp = hashlib.sha256(f"{state} {clip.geometry.source} {clip.own.name} {clip.foreign.name}".encode()).hexdigest()
    if cached.is_file():
        stored = json.loads(cached.read_text(encoding="utf-8"))
        if stored.get("state") == stamp:
            return stored
    if row.make is not None:
        row.make(clip, video, models, options, frames, stages)
    audio = clip.own if row.audio == "own" else clip.foreign
    geometry = clip.geometry if is_source else None
    first = None
    if is_source:  # the same frames that a dub has, though the file goes on
        dubbed = make_timeline(clip.geometry, read_audio(audio).duration, options.length).frame_count
        first = min(dubbed, clip.geometry.frame_count, frames or dubbed)
    scores = evaluate_video(
        video, clip.video, audio, models, options, stages, judges=judges, hear=hear, source_geometry=clip.geometry,
        output_geometry=geometry, own_sound=row.audio == "own", most_frames=most_frames, first_frames=first,
    )  # fmt: skip
    scores["state"], scores["file"] = stamp, str(video)
    write_atomically(cached, (json.dumps(scores, indent=1) + "\n").encode())
    return scores


def _state(models: Models, options: DubOptions, frames: int | None, most_frames: int | None) -> str:
    """What a cached score depends on besides the clip."""
    weights = {name: w.sha256 for name, w in models.origins.items()}
    return json.dumps([__version__, weights, vars(replace(options)), frames, most_frames], sort_keys=True, default=str)


def _cached_geometry(path: Path, source: str, models: Models) -> FaceGeometry | None:
    if not path.is_file():
        return None
    try:
        geometry = load_geometry(path, models.face_model)
    except PersonaTalkError:
        return None
    return geometry if geometry.source == source else None
