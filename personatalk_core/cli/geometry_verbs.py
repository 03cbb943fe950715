"""The verbs of the command line that change a geometry file or carry it to other tools."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..dubbing.progress import Progress
from ..errors import OptionsError
from ..geometry.editing import GeometryEdit, edit_geometry, freeze_geometry, geometry_at_speed
from ..geometry.export import write_arkit_csv, write_glb, write_live_link_json, write_obj_sequence
from ..geometry.face_model import FaceModel, load_face_model
from ..geometry.geometry_file import load_geometry, save_geometry
from ..geometry.other_face_models import load_any_face_model


def edit(args: argparse.Namespace, progress: Progress) -> str:
    """A geometry file to another: gain, smoothing, shift, named expressions, a part held still, speed."""
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
    if args.face_model is None and args.face_landmarks is not None:
        raise OptionsError(
            "--face-landmarks was given without --face-model; it names vertices of that model."
        )
    return load_any_face_model(args.face_model, args.face_landmarks) if args.face_model else None


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise OptionsError(f"'{text}' was added but expected NAME=AMOUNT, such as jawOpen=0.1.") from None
