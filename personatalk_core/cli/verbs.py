"""What each verb of the command line does: arguments in, one or two pipeline calls, what to print out."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import pipeline
from ..config import DubOptions
from ..dubbing.progress import Progress
from ..errors import BatchError, OptionsError
from ..geometry.geometry_file import load_geometry, save_geometry
from ..media.content_credentials import SigningChoice, signed_output
from ..media.image_sequence import is_picture_output, written_as_sequence
from ..media.video_reader import probe
from ..models import Models, load_models
from ..samples.demo import DEMO_SPEECH, write_sample_video, write_workflow_inputs
from ..speech.style_file import load_style, save_style
from ..types import DubReport
from ..weights.checkpoint import write_atomically
from .geometry_verbs import chosen_face_model, edit, export  # noqa: F401 (verbs)
from .parser import options_of, parse_hub
from .study import study  # noqa: F401 (verb)


def dub(args: argparse.Namespace, progress: Progress) -> str:
    """The whole method."""
    options = _output_options(args)
    models = _models(args, options)
    style = load_style(args.style, models.face_model, models.speech) if args.style else None
    inputs = [path for path in (args.audio, args.style) if path]
    with _output(args, inputs, progress) as out:
        report = pipeline.dub(
            args.video,
            args.audio,
            out,
            models,
            options,
            style=style,
            mask_out=args.mask_out,
            progress=progress,
        )
    return _finish(report, args, progress)


def geometry(args: argparse.Namespace, progress: Progress) -> str:
    """Video to geometry file, with an optional preview."""
    options = options_of(args)
    models = _models(args, options, parts=())
    models = dataclasses.replace(models, face_model=chosen_face_model(args) or models.face_model)
    info = probe(args.video)
    result = pipeline.geometry_of_video(info, models, options, progress)
    save_geometry(args.out, result)
    if args.preview:
        from ..previews.mesh_overlay import write_preview

        write_preview(info, result, models.face_model, args.preview, on_progress=progress.stage("preview"))
    return f"{args.out}: {result.frame_count} frames, {int(result.usable.sum())} with a usable face"


def style(args: argparse.Namespace, progress: Progress) -> str:
    """Videos or geometry files of one person to a style file."""
    options = options_of(args)
    models = _models(args, options, parts=("speech",))
    geometries, thumbnail = [], b""
    for path in args.video:
        if path.suffix == ".safetensors":
            geometries.append(load_geometry(path, models.face_model))
            continue
        info = probe(path)
        geometries.append(pipeline.geometry_of_video(info, models, options, progress))
        thumbnail = thumbnail or pipeline.thumbnail_of(info, geometries[-1], models)
    result = pipeline.style_of(geometries, args.name or args.video[0].stem, models, thumbnail)
    save_style(args.out, result)
    return f"{args.out}: style of {result.name} from {sum(int(g.usable.sum()) for g in geometries)} frames"


def animate(args: argparse.Namespace, progress: Progress) -> str:
    """Geometry and speech to lip-synced geometry."""
    options = options_of(args)
    models = _models(args, options, parts=("speech",))
    source = load_geometry(args.geometry, models.face_model)
    style = load_style(args.style, models.face_model, models.speech) if args.style else None
    target = pipeline.animate(source, args.audio, models, options, style=style, progress=progress)
    save_geometry(args.out, target)
    return "\n".join(
        [f"{args.out}: {target.frame_count} frames", *(f"warning: {text}" for text in progress.warnings)]
    )


def render(args: argparse.Namespace, progress: Progress) -> str:
    """Lip-synced geometry to video."""
    options = _output_options(args)
    models = _models(args, options, parts=("renderer",))
    target = load_geometry(args.geometry, models.face_model)
    with _output(args, [args.audio] if args.audio else [], progress) as out:
        report = pipeline.render(
            probe(args.video),
            target,
            out,
            models,
            options,
            audio=args.audio,
            mask_out=args.mask_out,
            progress=progress,
        )
    return _finish(report, args, progress)


def reconstruct(args: argparse.Namespace, progress: Progress) -> str:
    """The renderer's self-test."""
    options = options_of(args)
    pipeline.check_target(args.out, options)
    models = _models(args, options, parts=("renderer",))
    report = pipeline.reconstruct(args.video, args.out, models, options, progress=progress)
    return _finish(report, args, progress) + "".join(
        f"\n  {name}: {value:.4g}" for name, value in report.metrics.items()
    )


def evaluate(args: argparse.Namespace, progress: Progress) -> str:
    """Scores of one dub."""
    from ..evaluation.judges.networks import load_judges
    from ..evaluation.metrics.video_scores import evaluate_video

    options = options_of(args)
    result = evaluate_video(
        args.video,
        args.reference,
        args.audio,
        _models(args, options),
        options,
        progress,
        judges=load_judges(args.judges),
    )
    if args.out:
        write_atomically(args.out, (json.dumps(result, indent=2, default=str) + "\n").encode())
    return "\n".join(f"{name:<28} {value:.4g}" for name, value in result["metrics"].items())


def benchmark_quality(args: argparse.Namespace, progress: Progress) -> str:
    """The paper's protocol on a folder."""
    from ..evaluation.benchmark.rows import ROWS
    from ..evaluation.benchmark.run import benchmark_quality as run
    from ..evaluation.benchmark.talking_clips import load_judge
    from ..evaluation.judges.networks import load_judges

    options = options_of(args)
    unknown = sorted(set(args.rows or ()) - set(ROWS))
    if unknown:
        raise OptionsError(f"rows {', '.join(unknown)} are unknown; expected some of {', '.join(ROWS)}.")
    run(
        args.data,
        args.out,
        _models(args, options),
        options,
        progress,
        rows=tuple(args.rows or ROWS),
        outputs=_named_folders(args.outputs),
        foreign_outputs=_named_folders(args.foreign_outputs),
        judges=load_judges(args.judges),
        ridge=load_judge(args.pretrained, args.ridge),
        frames=args.frames,
        seconds=args.seconds,
        most_frames=args.compare,
        clips=args.clips,
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


def doctor(args: argparse.Namespace, progress: Progress) -> str | dict:
    """The state of the installation."""
    from .doctor import examine, format_findings

    findings = examine(options_of(args), folder=args.weights, hub=parse_hub(args.hub), offline=args.offline)
    return findings if args.json else format_findings(findings)


def batch(args: argparse.Namespace, progress: Progress) -> str:
    """Every job of a manifest. Raises BatchError, after all have run, where some failed."""
    from ..batch.job import WeightsChoice
    from ..batch.ray_runner import RayOptions
    from ..batch.run_batch import BatchOptions, run_batch

    ray = RayOptions(args.address, args.workers, args.cpus_per_worker, args.gpus_per_worker)
    summary = run_batch(
        args.manifest,
        args.out,
        options_of(args),
        BatchOptions(args.runner, ray, args.retries, args.quiet),
        weights=WeightsChoice(args.weights, parse_hub(args.hub), args.offline),
        signing=_signing(args),
    )
    if summary.failed:
        raise BatchError(str(summary))
    return str(summary)


def publish(args: argparse.Namespace, progress: Progress) -> str:
    """Weights and model card to the Hub."""
    from ..weights.publish import publish_weights

    done = publish_weights(
        args.repo, folder=args.folder, private=not args.public, on_progress=progress.stage("publish")
    )
    return f"published {done}"


def prepare(args: argparse.Namespace, progress: Progress) -> str:
    """Raw videos to a folder to train from."""
    from ..training.data.prepared_folder import describe, prepare_data

    if not args.data.is_dir():
        raise OptionsError(f"{args.data} is not a folder; pass a folder of videos with --data.")
    if not 0 <= args.held_out < 1:
        raise OptionsError(f"the held out share is {args.held_out} but expected 0 or more and less than 1.")
    on_progress = progress.stage("prepare")
    return describe(
        prepare_data(args.data, args.out, on_progress, with_silent=args.with_silent, held_out=args.held_out)
    )


def train(args: argparse.Namespace, progress: Progress) -> str:
    """Training of one part; the only place that imports training code."""
    if not args.data.is_dir():
        raise OptionsError(f"training data {args.data} is not a folder; pass a folder of videos with --data.")
    if args.part == "face-model":
        from ..training.face_model.train import train_face_model as run
    elif args.part == "speech":
        from ..training.speech.train import train_speech as run
    else:
        from ..training.renderer.train import train_renderer as run
    names = ("encoder", "encoder_weights", "recipe", "hold_out", "accelerate")
    given = {name: getattr(args, name) for name in names if getattr(args, name)}
    foreign = set(given) - {"speech": set(given), "renderer": {"recipe", "hold_out", "accelerate"}}.get(
        args.part, set()
    )
    if foreign:
        option = min(foreign).replace("_", "-")
        raise OptionsError(
            f"--{option} belongs to 'train speech' but the part is '{args.part}'; leave it out."
        )
    choices = {"seed": args.seed} | ({"steps": args.steps} if args.steps else {}) | given
    return str(run(args.data, args.out, on_progress=progress.stage(f"train {args.part}"), **choices))


def demo(args: argparse.Namespace, progress: Progress) -> str:
    """Dub the sample clip; the sound is a little longer than the picture, so it bounces."""
    if args.inputs:
        return "\n".join(str(path) for path in write_workflow_inputs(args.inputs))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    source, out = args.out_dir / "demo_source.mp4", args.out_dir / "demo.mp4"
    write_sample_video(source)
    options = dataclasses.replace(options_of(args), length="bounce")
    report = pipeline.dub(source, DEMO_SPEECH, out, _models(args, options), options, progress=progress)
    return f"{out}: {report.dubbed} of {report.frames} frames dubbed; the source is {source}"


def bench(args: argparse.Namespace, progress: Progress) -> str:
    """Stage timings, as ratios within one run."""
    from ..evaluation.speed.benchmark import format_benchmark, run_benchmark

    options = options_of(args)
    return format_benchmark(run_benchmark(_models(args, options), options, progress))


def _output_options(args: argparse.Namespace) -> DubOptions:
    """Options of a verb that writes a video or pictures; refuses an output that cannot work."""
    options = options_of(args)
    if is_picture_output(args.out):
        return dataclasses.replace(options, lossless=True)
    pipeline.check_target(args.out, options)
    return options


@contextmanager
def _output(args: argparse.Namespace, inputs: list[Path], progress: Progress) -> Iterator[Path]:
    """Where to write what is to appear as ``args.out``: pictures, a signed file, or the file itself."""
    signer = _signing(args).signer()
    if not is_picture_output(args.out):
        with signed_output(args.out, signer, source=args.video, others=inputs) as out:
            yield out
        return
    if signer is not None:
        raise OptionsError(
            "pictures cannot be signed; write an .mp4 or .mov file, or leave out --sign-certificate."
        )
    with written_as_sequence(args.out, progress.stage("pictures")) as out:
        yield out


def _signing(args: argparse.Namespace) -> SigningChoice:
    return SigningChoice(args.sign_certificate, args.sign_key, args.sign_algorithm, args.sign_timestamp)


def _models(args: argparse.Namespace, options, parts: tuple[str, ...] = ("speech", "renderer")) -> Models:
    return load_models(
        options, folder=args.weights, hub=parse_hub(args.hub), offline=args.offline, parts=parts
    )


def _finish(report: DubReport, args: argparse.Namespace, progress: Progress) -> str:
    report.seconds = {name: round(seconds, 3) for name, seconds in progress.seconds.items()}
    if args.report:
        write_atomically(
            Path(args.report), (json.dumps(dataclasses.asdict(report), indent=2) + "\n").encode()
        )
    passed = ", ".join(f"{count} {name}" for name, count in report.passed_through.items())
    lines = [
        f"{args.out}: {report.dubbed} of {report.frames} frames dubbed"
        + (f", passed through: {passed}" if passed else "")
    ]
    if report.resumed:
        lines.append(f"{report.resumed} of the frames were finished by an earlier run that was interrupted")
    return "\n".join(lines + [f"warning: {text}" for text in report.warnings])
