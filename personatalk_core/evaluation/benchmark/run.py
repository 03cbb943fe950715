"""The whole protocol on a folder of talking people: what ``benchmark-quality`` runs, resumable by clip and
row."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ... import __version__
from ...config import DubOptions
from ...dubbing.progress import Progress
from ...errors import MediaError, OptionsError, PersonaTalkError
from ...media.audio_stream import read_audio
from ...media.timing import make_timeline
from ...models import Models
from ...speech.audio_encoder import AudioEncoder
from ...weights.checkpoint import write_atomically
from ..judges.networks import JudgeNetworks, load_judges
from ..metrics.picture_scores import SourceLooks
from ..metrics.table import METRICS
from ..metrics.video_scores import evaluate_video
from ..studies.speech_ridge import SpeechRidge
from .clips import VIDEO_ENDINGS, choose_clips, load_clip, read_lags, talking_clips
from .report import write_report, write_table
from .rows import ROWS, QualityClip, Row, RowTools

PROTOCOL = (
    3  # raised when a row or a metric changes, so that scores of an older run are not taken for new ones
)


def benchmark_quality(
    folder: Path,
    out: Path,
    models: Models,
    options: DubOptions,
    progress: Progress | None = None,
    *,
    rows: Sequence[str] = tuple(ROWS),
    outputs: Mapping[str, Path] | None = None,
    foreign_outputs: Mapping[str, Path] | None = None,
    judges: JudgeNetworks | None = None,
    ridge: tuple[SpeechRidge, AudioEncoder] | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    most_frames: int | None = None,
    clips: Sequence[str] | None = None,
) -> dict:
    """Dub the clips of a folder in every row's way, score all, and write ``quality.json``, ``quality.md`` and
    ``quality.html``.

    Paper: 4.2 and 4.3, Tables 1 and 4, Figure 5. An INDEX.tsv beside the clips (columns ``file`` and
    ``av_lag_frames``) corrects sound that is out of step with its picture. Each clip and row is kept in
    ``out`` as it is done; what the same weights, options and judges made is not made again. Tracking,
    geometry and what is seen of the source are shared by the rows of a clip.
    Args:
        folder:  videos with sound of one talking person each; each speaks the next one's words in the foreign
            rows.
        out:     folder for geometry, dubs, scores and the report; ``pairs.tsv`` says who speaks whose words.
        rows:    names of ROWS.
        outputs: name to folder of somebody else's self-dubs, files named as their sources (any ending); each
            becomes a row.
        foreign_outputs: the same for dubs with the sound that ``pairs.tsv`` names.
        judges:  see ``evaluate_video``.
        ridge:   of the ridge-regression row; see ``talking_clips.load_judge``.
        frames, seconds: dub the beginning of each clip only; None: all.
        most_frames: compare the pixels of at most this many frames a video.
        clips:   see ``choose_clips``; None: all.
    Returns:
        {"personatalk", "weights", "clips", "frames", "seconds", "left_out": {file: reason}, "rows": {row:
        {"title", "table", "audio", "mean": {...}, "clips": {file: scores}}}}.
    Raises:
        OptionsError: an unknown row or clip, or both frames and seconds.  MediaError: no usable clip.
    """
    progress, out, judges = progress or Progress(), Path(out), judges or load_judges(None)
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise OptionsError(
            f"'{unknown[0]}' is not a row of the quality table; expected any of {', '.join(ROWS)}."
        )
    if frames is not None and seconds is not None:
        raise OptionsError("both frames and seconds were given; state the length of the dubs in one of them.")
    found, left_out = talking_clips(Path(folder))
    chosen = choose_clips(found, clips)
    plan: dict[str, tuple[Row, Path | None]] = {name: (ROWS[name], None) for name in rows}
    plan |= {
        f"output_{name}": (Row(name, "own", None), Path(where)) for name, where in (outputs or {}).items()
    }
    foreign = (foreign_outputs or {}).items()
    plan |= {
        f"foreign_{name}": (Row(f"{name}, cross-audio", "foreign", None), Path(where))
        for name, where in foreign
    }
    result = {
        "personatalk": __version__,
        "protocol": PROTOCOL,
        "weights": {name: w.sha256 for name, w in models.origins.items()},
        "judges": list(judges.present),
        "clips": [],
        "frames": frames,
        "seconds": seconds,
        "left_out": left_out,
        "rows": {
            n: {"title": r.title, "table": r.table, "audio": r.audio, "mean": {}, "clips": {}}
            for n, (r, _) in plan.items()
        },
    }
    tools = RowTools(models, options, progress, ridge)
    state = json.dumps(
        [__version__, PROTOCOL, result["weights"], list(judges.present), vars(options), most_frames],
        sort_keys=True,
    )
    lags, sources = read_lags(Path(folder)), {}
    on_progress = progress.stage("quality")
    _write_pairs(out, found, chosen)
    for number, info in enumerate(chosen):
        try:
            clip = load_clip(
                info, found, out, models, options, progress, lags=lags, frames=frames, seconds=seconds
            )
        except PersonaTalkError as error:
            left_out[info.path.name] = str(error)
            continue
        looks = SourceLooks()
        result["clips"].append(info.path.name)
        sources[info.path.name] = info.path
        for step, (name, (row, where)) in enumerate(plan.items()):
            try:
                scores = _score(clip, name, row, where, out, tools, judges, looks, most_frames, state)
                result["rows"][name]["clips"][info.path.name] = scores
            except PersonaTalkError as error:
                left_out[f"{row.title}: {info.path.name}"] = str(error)
            on_progress(number * len(plan) + step + 1, len(chosen) * len(plan))
        for entry in result["rows"].values():
            entry["mean"] = means([scores["metrics"] for scores in entry["clips"].values()])
        write_table(result, out)
    if not result["clips"]:
        raise MediaError(
            f"no clip of {folder} is usable: " + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    write_report(result, out, sources)
    return result


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
    clip: QualityClip,
    name: str,
    row: Row,
    where: Path | None,
    out: Path,
    tools: RowTools,
    judges: JudgeNetworks,
    looks: SourceLooks,
    most_frames: int | None,
    state: str,
) -> dict:
    """Scores of one video, from the cache where the same weights, options and file made it. where: a folder
    of somebody else's."""
    is_source = row.make is None and where is None
    video = (
        clip.video
        if is_source
        else out / name / f"{clip.video.stem}.mp4"
        if where is None
        else _named_like(clip.video, where)
    )
    told = f"{video.stat().st_mtime_ns} {video.stat().st_size}" if where is not None else ""
    ridge = "" if tools.ridge is None else str(float(tools.ridge[0].weight.sum()))
    parts = [
        state,
        clip.geometry.source,
        clip.own.name,
        clip.foreign.name,
        str(clip.frames),
        name,
        told,
        ridge,
    ]
    stamp = hashlib.sha256("|".join(parts).encode()).hexdigest()
    cached = out / name / f"{clip.video.stem}.json"
    if cached.is_file():
        stored = json.loads(cached.read_text(encoding="utf-8"))
        if stored.get("state") == stamp:
            return stored
    begun = time.perf_counter()
    if row.make is not None:
        video.parent.mkdir(parents=True, exist_ok=True)
        row.make(clip, video, tools)
    made = time.perf_counter()
    audio = clip.own if row.audio == "own" else clip.foreign
    first = None
    if row.make is None:  # the same frames that a dub has, though the file goes on
        dubbed = make_timeline(clip.geometry, read_audio(audio).duration, tools.options.length).frame_count
        first = min(dubbed, clip.frames or dubbed)
        first = min(first, clip.geometry.frame_count) if is_source else first
    scores = evaluate_video(
        video,
        clip.video,
        audio,
        tools.models,
        tools.options,
        tools.progress,
        judges=judges,
        source_geometry=clip.geometry,
        output_geometry=clip.geometry if is_source else None,
        own_sound=row.audio == "own",
        most_frames=most_frames,
        first_frames=first,
        looks=looks,
    )
    scores["state"], scores["file"] = stamp, str(video)
    scores["seconds"] = {"make": round(made - begun, 2), "score": round(time.perf_counter() - made, 2)}
    write_atomically(cached, (json.dumps(scores, indent=1) + "\n").encode())
    return scores


def _named_like(source: Path, folder: Path) -> Path:
    """The output of a source in somebody else's folder: the same name, any ending. Raises MediaError when it
    is missing."""
    for ending in (source.suffix, *VIDEO_ENDINGS):
        if (folder / f"{source.stem}{ending}").is_file():
            return folder / f"{source.stem}{ending}"
    raise MediaError(
        f"missing: {folder} holds no {source.stem} with an ending of {', '.join(VIDEO_ENDINGS)}."
    )


def _write_pairs(out: Path, found: Sequence, chosen: Sequence) -> None:
    """Who speaks whose words, for those who bring outputs of their own."""
    paths = [info.path for info in found]
    lines = ["file\town_sound\tforeign_sound"]
    for info in chosen:
        following = paths[(paths.index(info.path) + 1) % len(paths)]
        lines.append(f"{info.path.name}\tsound/{info.path.stem}.wav\tsound/{following.stem}.wav")
    write_atomically(out / "pairs.tsv", ("\n".join(lines) + "\n").encode())
