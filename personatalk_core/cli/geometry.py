"""The verbs of a face geometry: estimate it, change it, carry it to other tools."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..dubbing.progress import Progress
from ..errors import OptionsError
from .options import Verbs, add_options, add_verb, load_models, options_of

if TYPE_CHECKING:
    from ..geometry.face_model import FaceModel


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = add_verb(verbs, "geometry", "estimate the face geometry of a video", geometry, computes=True)
    verb.add_argument("video", type=Path)
    verb.add_argument("--out", type=Path, required=True, help="geometry .safetensors")
    verb.add_argument("--preview", type=Path, help="also write a video with the mesh over the face")
    add_options(verb, "face", "initializer")
    _add_face_model(verb)

    verb = add_verb(
        verbs,
        "edit",
        "change a geometry file: how far, how smooth, how early and how fast the face moves",
        edit,
    )
    verb.add_argument("geometry", type=Path)
    verb.add_argument("--out", type=Path, required=True, help="geometry .safetensors")
    verb.add_argument(
        "--mouth-gain",
        type=float,
        default=1.0,
        metavar="0..2",
        help="0 holds the mouth still, 2 moves it twice as far",
    )
    verb.add_argument(
        "--upper-gain", type=float, default=1.0, metavar="0..2", help="the same for brows, cheeks and lids"
    )
    verb.add_argument(
        "--smoothing", type=float, default=0.0, metavar="S", help="seconds over which the mouth is averaged"
    )
    verb.add_argument(
        "--shift",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds the mouth comes later (negative: earlier)",
    )
    verb.add_argument(
        "--add",
        nargs="+",
        default=[],
        metavar="NAME=AMOUNT",
        help="expressions by ARKit name, such as mouthSmileLeft=0.2",
    )
    verb.add_argument(
        "--freeze",
        nargs="+",
        default=[],
        metavar="PART@FRAME",
        help="hold lower, upper, expression or pose as in a frame",
    )
    verb.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="0.1..10",
        help="retime: 2 is twice as fast, at the same frame rate",
    )
    _add_face_model(verb)

    verb = add_verb(verbs, "export", "write a geometry file as meshes or as named expression scores", export)
    verb.add_argument("geometry", type=Path)
    verb.add_argument("--obj", type=Path, metavar="DIR", help="a numbered OBJ file a frame")
    verb.add_argument("--glb", type=Path, metavar="FILE", help="one animated glTF binary")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="ARKit scores and head angles, a row a frame")
    verb.add_argument("--json", type=Path, metavar="FILE", help="Live-Link-style frames")
    _add_face_model(verb)


def geometry(args: argparse.Namespace, progress: Progress) -> str:
    """Video to geometry file, with an optional preview."""
    from .. import pipeline
    from ..dubbing.run import Run
    from ..geometry.geometry_file import save_geometry
    from ..media.video_reader import probe

    options = options_of(args)
    models = load_models(args, options, parts=())
    models = replace(models, face_model=chosen_face_model(args) or models.face_model)
    info = probe(args.video)
    result = pipeline.estimate_geometry(info, Run(models, options, progress))
    save_geometry(args.out, result)
    if args.preview:
        from ..previews.mesh_overlay import write_preview

        write_preview(info, result, models.face_model, args.preview, on_progress=progress.stage("preview"))
    return f"{args.out}: {result.frame_count} frames, {int(result.usable.sum())} with a usable face"


def edit(args: argparse.Namespace, progress: Progress) -> str:
    """A geometry file to another: gain, smoothing, shift, named expressions, a part held still, speed."""
    from ..geometry.editing import GeometryEdit, edit_geometry, freeze_geometry, geometry_at_speed
    from ..geometry.face_model import load_face_model
    from ..geometry.geometry_file import load_geometry, save_geometry

    face_model = chosen_face_model(args) or load_face_model()
    geometry = load_geometry(args.geometry, face_model)
    added = dict(_amount(text) for text in args.add)
    change = GeometryEdit(args.mouth_gain, args.upper_gain, args.smoothing, args.shift, added)
    reference = geometry.reference or geometry  # the pixels are still those of the estimated face
    geometry = edit_geometry(geometry, face_model, change)
    for text in args.freeze:
        part, _, frame = text.partition("@")
        if not frame.isdecimal():
            raise OptionsError(f"freeze is '{text}' but expected PART@FRAME, such as lower@0.")
        geometry = freeze_geometry(geometry, face_model, int(frame), part=part)
    geometry = geometry_at_speed(replace(geometry, reference=reference), args.speed)
    save_geometry(args.out, geometry)
    return f"{args.out}: {geometry.frame_count} frames"


def export(args: argparse.Namespace, progress: Progress) -> str:
    """A geometry file to meshes or to named expression scores."""
    from ..geometry.export import write_arkit_csv, write_glb, write_live_link_json, write_obj_sequence
    from ..geometry.face_model import load_face_model
    from ..geometry.geometry_file import load_geometry

    if not any((args.obj, args.glb, args.csv, args.json)):
        raise OptionsError(
            "nothing was asked for; pass one or more of --obj DIR, --glb FILE, --csv FILE and --json FILE."
        )
    face_model = chosen_face_model(args) or load_face_model()
    geometry = load_geometry(args.geometry, face_model)
    written = []
    if args.obj:
        written.append(f"{args.obj}: {len(write_obj_sequence(args.obj, geometry, face_model))} OBJ files")
    for path, write in (
        (args.glb, write_glb),
        (args.csv, write_arkit_csv),
        (args.json, write_live_link_json),
    ):
        if path:
            write(path, geometry, face_model)
            written.append(f"{path}: {geometry.frame_count} frames")
    return "\n".join(written)


def chosen_face_model(args: argparse.Namespace) -> FaceModel | None:
    """The user's own face model, None where none was given."""
    from ..geometry.other_face_models import load_any_face_model

    if args.face_model is None and args.face_landmarks is not None:
        raise OptionsError(
            "--face-landmarks was given without --face-model; it names vertices of that model."
        )
    return load_any_face_model(args.face_model, args.face_landmarks) if args.face_model else None


def _add_face_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--face-model",
        type=Path,
        metavar="PATH",
        help="BFM09 .mat, FLAME .npz or a folder of ICT-FaceKit, of yours",
    )
    verb.add_argument(
        "--face-landmarks",
        type=Path,
        metavar="JSON",
        help="MediaPipe landmark to vertex, for FLAME and ICT-FaceKit",
    )


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise OptionsError(f"'{text}' was added but expected NAME=AMOUNT, such as jawOpen=0.1.") from None
