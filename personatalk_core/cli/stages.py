"""The verbs of the later stages, one file to the next: ``style``, ``animate`` and ``render``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..dubbing.progress import Progress
from .options import Verbs, add_options, add_verb, load_models, options_of
from .video_output import add_video_output, format_report, output_options_of, video_target


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = add_verb(verbs, "style", "extract how a person speaks", style, computes=True)
    verb.add_argument(
        "video", type=Path, nargs="+", help="one or more videos (or geometry files) of the same person"
    )
    verb.add_argument("--out", type=Path, required=True, help="style .safetensors")
    verb.add_argument("--name", help="name shown to users; default: the first file's name")
    add_options(verb, "face", "initializer")

    verb = add_verb(verbs, "animate", "make geometry speak", animate, computes=True)
    verb.add_argument("--geometry", type=Path, required=True, help="geometry of the source video")
    verb.add_argument("--audio", type=Path, required=True)
    verb.add_argument("--style", type=Path, help="default: the geometry's own style")
    verb.add_argument("--out", type=Path, required=True, help="lip-synced geometry .safetensors")
    add_options(verb, "style_strength", "length")

    verb = add_verb(
        verbs, "render", "render lip-synced geometry with the video's own pixels", render, computes=True
    )
    verb.add_argument("--video", type=Path, required=True)
    verb.add_argument("--geometry", type=Path, required=True, help="made by 'personatalk animate'")
    verb.add_argument(
        "--audio", type=Path, help="sound of the output; default: the one that 'animate' was given"
    )
    verb.add_argument("--out", type=Path, required=True)
    add_video_output(verb)


def style(args: argparse.Namespace, progress: Progress) -> str:
    """Videos or geometry files of one person to a style file."""
    from .. import pipeline
    from ..dubbing.run import Run
    from ..geometry.geometry_file import load_geometry
    from ..media.video_reader import probe
    from ..previews.reference_crops import face_thumbnail
    from ..speech.style_file import save_style

    options = options_of(args)
    models = load_models(args, options, parts=("speech",))
    geometries, thumbnail = [], b""
    for path in args.video:
        if path.suffix == ".safetensors":
            geometries.append(load_geometry(path, models.face_model))
            continue
        info = probe(path)
        geometries.append(pipeline.estimate_geometry(info, Run(models, options, progress)))
        thumbnail = thumbnail or face_thumbnail(info, geometries[-1], models.face_model)
    name = args.name or args.video[0].stem
    result = pipeline.extract_style(geometries, Run(models, options, progress), name, thumbnail)
    save_style(args.out, result)
    return f"{args.out}: style of {result.name} from {sum(int(g.usable.sum()) for g in geometries)} frames"


def animate(args: argparse.Namespace, progress: Progress) -> str:
    """Geometry and speech to lip-synced geometry."""
    from .. import pipeline
    from ..dubbing.run import Run
    from ..geometry.geometry_file import load_geometry, save_geometry
    from ..speech.style_file import load_style

    options = options_of(args)
    models = load_models(args, options, parts=("speech",))
    source = load_geometry(args.geometry, models.face_model)
    style = load_style(args.style, models.face_model, models.speech) if args.style else None
    target = pipeline.animate(source, args.audio, Run(models, options, progress), style)
    save_geometry(args.out, target)
    return "\n".join(
        [f"{args.out}: {target.frame_count} frames", *(f"warning: {text}" for text in progress.warnings)]
    )


def render(args: argparse.Namespace, progress: Progress) -> str:
    """Lip-synced geometry to video."""
    from .. import pipeline
    from ..dubbing.run import OutputFiles, Run
    from ..geometry.geometry_file import load_geometry
    from ..media.video_reader import probe

    options = output_options_of(args)
    models = load_models(args, options, parts=("renderer",))
    target = load_geometry(args.geometry, models.face_model)
    with video_target(args, [args.audio] if args.audio else [], progress) as out:
        run = Run(models, options, progress)
        frames = pipeline.render(probe(args.video), target, run)
        report = pipeline.write_dub(frames, OutputFiles(out, args.mask_out), run, args.audio)
    return format_report(report, args, progress)
