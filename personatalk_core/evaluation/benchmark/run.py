"""The whole protocol on a folder of talking people: what ``benchmark-quality`` runs, resumable by clip and
row."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ... import __version__
from ...dubbing.run import Run
from ...errors import MediaError, OptionsError, PersonaTalkError
from ...media.audio_stream import read_audio
from ...media.timing import make_timeline
from ...speech.audio_encoder import AudioEncoder
from ...weights.checkpoint import write_atomically
from ..judges.networks import JudgeNetworks, load_judges
from ..judges.speech_ridge import SpeechRidge
from ..metrics.picture_scores import SourceCrops
from ..metrics.table import METRICS
from ..metrics.video_scores import ComparisonOptions, evaluate_video
from .clips import VIDEO_ENDINGS, choose_clips, load_clip, read_lags, talking_clips
from .report import write_report, write_table
from .rows import ROWS, QualityClip, Row, RowTools

PROTOCOL = (
    3  # raised when a row or a metric changes, so that scores of an older run are not taken for new ones
)


@dataclass(frozen=True, eq=False)
class BenchmarkOptions:
    """What a quality run covers.

    rows:            names of ROWS.
    outputs:         name to folder of somebody else's self-dubs, files named as their sources (any ending);
        each becomes a row.
    foreign_outputs: the same for dubs with the sound that ``pairs.tsv`` names.
    ridge:           of the ridge-regression row; see ``talking_clips.load_judge``.
    frames, seconds: dub the beginning of each clip only; None: all.
    most_frames:     compare the pixels of at most this many frames a video.
    clips:           see ``choose_clips``; None: all.
    """

    rows: Sequence[str] = tuple(ROWS)
    outputs: Mapping[str, Path] = field(default_factory=dict)
    foreign_outputs: Mapping[str, Path] = field(default_factory=dict)
    ridge: tuple[SpeechRidge, AudioEncoder] | None = None
    frames: int | None = None
    seconds: float | None = None
    most_frames: int | None = None
    clips: Sequence[str] | None = None

    def verify(self) -> BenchmarkOptions:
        """Return self, or raise OptionsError for an unknown row, or both frames and seconds."""
        unknown = sorted(set(self.rows) - set(ROWS))
        if unknown:
            raise OptionsError(
                f"'{unknown[0]}' is not a row of the quality table; expected any of {', '.join(ROWS)}."
            )
        if self.frames is not None and self.seconds is not None:
            raise OptionsError(
                "both frames and seconds were given; state the length of the dubs in one of them."
            )
        return self

    def plan(self) -> dict[str, PlannedRow]:
        """Every row of the table by its name in the result."""
        planned = {name: PlannedRow(name, ROWS[name]) for name in self.rows}
        for title, folder in self.outputs.items():
            name = f"output_{title}"
            planned[name] = PlannedRow(name, Row(title, "own", None), Path(folder))
        for title, folder in self.foreign_outputs.items():
            name, row = f"foreign_{title}", Row(f"{title}, cross-audio", "foreign", None)
            planned[name] = PlannedRow(name, row, Path(folder))
        return planned


@dataclass(frozen=True, eq=False)
class PlannedRow:
    """name: in the result and of the folder below ``out``.  folder: of somebody else's outputs; None: the row
    makes its videos, or shows the sources."""

    name: str
    row: Row
    folder: Path | None = None

    @property
    def shows_source(self) -> bool:
        return self.row.make is None and self.folder is None


def benchmark_quality(
    folder: Path,
    out: Path,
    run: Run,
    options: BenchmarkOptions | None = None,
    judges: JudgeNetworks | None = None,
) -> dict:
    """Dub the clips of a folder in every row's way, score all, and write ``quality.json``, ``quality.md`` and
    ``quality.html``.

    Paper: 4.2 and 4.3, Tables 1 and 4, Figure 5. An INDEX.tsv beside the clips (columns ``file`` and
    ``av_lag_frames``) corrects sound that is out of step with its picture. Each clip and row is kept in
    ``out`` as it is done; what the same weights, options and judges made is not made again. Tracking,
    geometry and the source's crops are shared by the rows of a clip.
    Args:
        folder:  videos with sound of one talking person each; each speaks the next one's words in the foreign
            rows.
        out:     folder for geometry, dubs, scores and the report; ``pairs.tsv`` says who speaks whose words.
        run:     models, options of the dubs, progress.
        options: what is covered; None: every row of every clip.
        judges:  see ``evaluate_video``.
    Returns:
        {"personatalk", "weights", "clips", "frames", "seconds", "left_out": {file: reason}, "rows": {row:
        {"title", "table", "audio", "mean": {...}, "clips": {file: scores}}}}.
    Raises:
        OptionsError: an unknown row or clip, or both frames and seconds.  MediaError: no usable clip.
    """
    options, out = (options or BenchmarkOptions()).verify(), Path(out)
    judges = judges or load_judges(None)
    found, left_out = talking_clips(Path(folder))
    chosen, plan = choose_clips(found, options.clips), options.plan()
    result = _empty_result(run, options, judges, left_out)
    state = json.dumps(
        [
            __version__,
            PROTOCOL,
            result["weights"],
            list(judges.present),
            vars(run.options),
            options.most_frames,
        ],
        sort_keys=True,
    )
    paths, lags, sources = [other.path for other in found], read_lags(Path(folder)), {}
    on_progress = run.progress.stage("quality")
    _write_pairs(out, found, chosen)
    for number, info in enumerate(chosen):
        # the clip: its geometry and its sounds
        following = paths[(paths.index(info.path) + 1) % len(paths)]
        try:
            clip = load_clip(info, following, out, run, lags)
        except PersonaTalkError as error:
            left_out[info.path.name] = str(error)
            continue
        clip = clip.beginning(options.frames, options.seconds)
        tools = RowTools(run, options.ridge)
        scorer = _Scorer(clip, out, tools, judges, options.most_frames, state)
        result["clips"].append(info.path.name)
        sources[info.path.name] = info.path
        # its rows
        for step, (name, planned) in enumerate(plan.items()):
            try:
                result["rows"][name]["clips"][info.path.name] = scorer.score(planned)
            except PersonaTalkError as error:
                left_out[f"{planned.row.title}: {info.path.name}"] = str(error)
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


def _empty_result(
    run: Run, options: BenchmarkOptions, judges: JudgeNetworks, left_out: dict[str, str]
) -> dict:
    return {
        "personatalk": __version__,
        "protocol": PROTOCOL,
        "weights": {name: w.sha256 for name, w in run.models.origins.items()},
        "judges": list(judges.present),
        "clips": [],
        "frames": options.frames,
        "seconds": options.seconds,
        "left_out": left_out,
        "rows": {
            name: {
                "title": planned.row.title,
                "table": planned.row.table,
                "audio": planned.row.audio,
                "mean": {},
                "clips": {},
            }
            for name, planned in options.plan().items()
        },
    }


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


class _Scorer:
    """Scores the rows of one clip; what is seen of the source is shared by them.

    state: what else the scores depend on; they are made again where it, or a file, is another one.
    """

    def __init__(
        self,
        clip: QualityClip,
        out: Path,
        tools: RowTools,
        judges: JudgeNetworks,
        most_frames: int | None,
        state: str,
    ) -> None:
        self.clip, self.out, self.tools, self.judges = clip, out, tools, judges
        self.most_frames, self.state, self.source_crops = most_frames, state, SourceCrops()

    def score(self, planned: PlannedRow) -> dict:
        """Scores of one video, from ``out`` where the same weights, options and file made them."""
        clip, row = self.clip, planned.row
        video = self._video(planned)
        cached, stamp = self.out / planned.name / f"{clip.video.stem}.json", self._stamp(planned, video)
        if cached.is_file():
            stored = json.loads(cached.read_text(encoding="utf-8"))
            if stored.get("state") == stamp:
                return stored
        # make the video
        begun = time.perf_counter()
        if row.make is not None:
            video.parent.mkdir(parents=True, exist_ok=True)
            row.make(clip, video, self.tools)
        made = time.perf_counter()
        # score it
        audio = clip.own if row.audio == "own" else clip.foreign
        options = ComparisonOptions(
            source_geometry=clip.geometry,
            output_geometry=clip.geometry if planned.shows_source else None,
            own_sound=row.audio == "own",
            first_frames=None if row.make is not None else self._dubbed_frames(audio, planned.shows_source),
            most_frames=self.most_frames,
            source_crops=self.source_crops,
        )
        scores = evaluate_video(video, clip.video, audio, self.tools.run, self.judges, options)
        scores["state"], scores["file"] = stamp, str(video)
        scores["seconds"] = {"make": round(made - begun, 2), "score": round(time.perf_counter() - made, 2)}
        write_atomically(cached, (json.dumps(scores, indent=1) + "\n").encode())
        return scores

    def _video(self, planned: PlannedRow) -> Path:
        if planned.shows_source:
            return self.clip.video
        if planned.folder is not None:
            return _named_like(self.clip.video, planned.folder)
        return self.out / planned.name / f"{self.clip.video.stem}.mp4"

    def _stamp(self, planned: PlannedRow, video: Path) -> str:
        clip, ridge = self.clip, self.tools.ridge
        status = video.stat() if planned.folder is not None else None
        parts = [
            self.state,
            clip.geometry.source,
            clip.own.name,
            clip.foreign.name,
            str(clip.frames),
            planned.name,
            f"{status.st_mtime_ns} {status.st_size}" if status else "",
            "" if ridge is None else str(float(ridge[0].weight.sum())),
        ]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    def _dubbed_frames(self, audio: Path, shows_source: bool) -> int:
        """As many frames as a dub has, though the file may go on."""
        clip, length = self.clip, self.tools.run.options.length
        dubbed = make_timeline(clip.geometry, read_audio(audio).duration, length).frame_count
        frames = min(dubbed, clip.frames or dubbed)
        return min(frames, clip.geometry.frame_count) if shows_source else frames


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
