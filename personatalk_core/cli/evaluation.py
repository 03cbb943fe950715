"""The verbs that judge: ``reconstruct``, ``evaluate``, ``benchmark-quality`` and ``user-study``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..dubbing.progress import Progress
from ..errors import OptionsError
from .options import Verbs, add_options, add_verb, load_models, options_of
from .video_output import format_report


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = add_verb(
        verbs,
        "reconstruct",
        "render a video's own geometry from references some frames away (self-test)",
        reconstruct,
        computes=True,
    )
    verb.add_argument("video", type=Path)
    add_options(verb, "exclude_window", default=12)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--report", type=Path, help="PSNR and SSIM inside face and lips, as JSON")
    add_options(verb, "lip_references", "face_references", "face", "initializer")

    verb = add_verb(
        verbs, "evaluate", "score one dubbed video against its source and its sound", evaluate, computes=True
    )
    verb.add_argument("--video", type=Path, required=True, help="the dubbed video, of any maker")
    verb.add_argument("--reference", type=Path, required=True, help="the video it was made from")
    verb.add_argument("--audio", type=Path, required=True, help="the speech it was made with")
    verb.add_argument("--out", type=Path, help="also write the scores and curves as JSON")
    _add_judges(verb)
    add_options(verb, "length", "face", "initializer")

    verb = add_verb(
        verbs,
        "benchmark-quality",
        "the paper's tables on a folder of talking clips",
        benchmark_quality,
        computes=True,
    )
    verb.add_argument("--data", type=Path, required=True, help="folder of videos with sound")
    verb.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for dubs, quality.json, quality.md and quality.html; resumed when it exists",
    )
    verb.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the table; default: all")
    verb.add_argument(
        "--outputs",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="somebody else's dubs, files named as their sources",
    )
    verb.add_argument(
        "--foreign-outputs",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="the same, with the sounds of pairs.tsv",
    )
    verb.add_argument("--frames", "--max-frames", type=int, help="dub only the first frames of each clip")
    verb.add_argument("--seconds", type=float, help="the same in seconds")
    verb.add_argument(
        "--compare", type=int, metavar="N", help="compare the pixels of the first N of these frames only"
    )
    verb.add_argument(
        "--clips",
        nargs="+",
        metavar="N|NAME",
        help="use only the first N clips, or those that begin with a name",
    )
    verb.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="Moonshine-tiny's encoder as released, for the row ridge_speech",
    )
    verb.add_argument(
        "--ridge",
        type=Path,
        metavar="FILE",
        help="ridge regression of yours; default: the bundled coefficients",
    )
    _add_judges(verb)

    verb = add_verb(
        verbs,
        "user-study",
        "make a blind viewing test as one offline page, or analyse its answers",
        user_study,
    )
    verb.add_argument("--systems", nargs="+", default=[], metavar="NAME=DIR", help="whose videos are shown")
    verb.add_argument("--reference", type=Path, help="folder of the original videos, shown beside")
    verb.add_argument(
        "--kind",
        choices=("mos", "ab"),
        default="mos",
        help="rate each from 1 to 5, or choose the better of two",
    )
    verb.add_argument("--out", type=Path, help="folder for study.html and study_key.json")
    verb.add_argument(
        "--answers",
        type=Path,
        nargs="+",
        default=[],
        help="CSV files that raters saved; analyses them with --key",
    )
    verb.add_argument("--key", type=Path, help="study_key.json of the study")
    add_options(verb, "seed")


def reconstruct(args: argparse.Namespace, progress: Progress) -> str:
    """The renderer's self-test."""
    from ..dubbing.run import OutputFiles
    from ..evaluation import reconstruct as study

    options = options_of(args)
    OutputFiles.of(args.out).verify()
    models = load_models(args, options, parts=("renderer",))
    report = study.reconstruct(args.video, args.out, models, options, progress=progress)
    return format_report(report, args, progress) + "".join(
        f"\n  {name}: {value:.4g}" for name, value in report.metrics.items()
    )


def evaluate(args: argparse.Namespace, progress: Progress) -> str:
    """Scores of one dub."""
    from ..dubbing.run import Run
    from ..evaluation.judges.networks import load_judges
    from ..evaluation.metrics.video_scores import evaluate_video
    from ..weights.checkpoint import write_atomically

    options = options_of(args)
    run = Run(load_models(args, options), options, progress)
    result = evaluate_video(args.video, args.reference, args.audio, run, load_judges(args.judges))
    if args.out:
        write_atomically(args.out, (json.dumps(result, indent=2, default=str) + "\n").encode())
    return "\n".join(f"{name:<28} {value:.4g}" for name, value in result["metrics"].items())


def benchmark_quality(args: argparse.Namespace, progress: Progress) -> str:
    """The paper's protocol on a folder."""
    from ..dubbing.run import Run
    from ..evaluation.benchmark import run as benchmark
    from ..evaluation.benchmark.rows import ROWS
    from ..evaluation.judges.networks import load_judges
    from ..evaluation.studies.talking_clips import load_judge

    options = options_of(args)
    unknown = sorted(set(args.rows or ()) - set(ROWS))
    if unknown:
        raise OptionsError(f"rows {', '.join(unknown)} are unknown; expected some of {', '.join(ROWS)}.")
    covered = benchmark.BenchmarkOptions(
        rows=tuple(args.rows or ROWS),
        outputs=_named_folders(args.outputs),
        foreign_outputs=_named_folders(args.foreign_outputs),
        ridge=load_judge(args.pretrained, args.ridge),
        frames=args.frames,
        seconds=args.seconds,
        most_frames=args.compare,
        clips=args.clips,
    )
    judges = load_judges(args.judges)
    benchmark.benchmark_quality(
        args.data, args.out, Run(load_models(args, options), options, progress), covered, judges
    )
    return (args.out / "quality.md").read_text(encoding="utf-8")


def user_study(args: argparse.Namespace, progress: Progress) -> str:
    """A blind viewing test, or its analysis."""
    if args.answers:
        from ..evaluation.user_study.analysis import analyse_user_study, format_user_study

        if args.key is None:
            raise OptionsError(
                "answers were given without --key; pass the study_key.json that was written with the study."
            )
        return format_user_study(analyse_user_study(args.key, args.answers, seed=args.seed))
    from ..evaluation.user_study.make import make_user_study

    if args.out is None or not args.systems:
        raise OptionsError(
            "a study needs --systems NAME=DIR ... and --out DIR, or --answers and --key to analyse one."
        )
    written = make_user_study(
        _named_folders(args.systems), args.out, kind=args.kind, reference=args.reference, seed=args.seed
    )
    return f"{written.page}: {written.trials} trials; keep {written.key} away from the raters"


def _named_folders(texts: list[str]) -> dict[str, Path]:
    """``NAME=DIR`` arguments as a mapping. Raises OptionsError for any other form or a folder that does not
    exist."""
    found = {}
    for text in texts:
        name, mark, folder = text.partition("=")
        if not (name and mark and Path(folder).is_dir()):
            raise OptionsError(f"'{text}' was given but expected NAME=DIR with a folder that exists.")
        found[name] = Path(folder)
    return found


def _add_judges(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--judges",
        type=Path,
        metavar="DIR",
        help="inception.onnx, arcface.onnx, lpips.onnx, syncnet.safetensors of yours",
    )
