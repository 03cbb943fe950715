"""The ``personatalk`` command: one verb a stage, and ``dub`` for all of them.

Only this module reads arguments, prints, and turns errors into exit codes: 0 done, 2 the input, options or
environment are at fault (one sentence on stderr, nothing written), 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..config import DEVICES, DTYPES, LENGTH_MODES, DubOptions
from ..dubbing.progress import ProgressBars
from ..errors import OptionsError, PersonaTalkError
from .study import register as register_study


def build_parser() -> argparse.ArgumentParser:
    """Every verb and option of the command line."""
    parser = argparse.ArgumentParser(
        prog="personatalk", description="Dub a talking person's video and keep the persona."
    )
    parser.add_argument("--version", action="version", version=f"personatalk {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    dub = _verb(verbs, "dub", "make a video speak new words", compute=True)
    dub.add_argument(
        "--video",
        type=Path,
        required=True,
        help="one talking person: a video, a folder of pictures, DIR/name_%%05d.png@RATE",
    )
    dub.add_argument(
        "--audio", type=Path, required=True, help="sound file, or a video with sound, of the new speech"
    )
    dub.add_argument(
        "--out", type=Path, required=True, help="output .mp4, .mov or .mkv, or pictures: DIR/name_%%05d.png"
    )
    dub.add_argument(
        "--style", type=Path, help="style file made by 'personatalk style'; default: the video's own style"
    )
    _style_strength(dub)
    _length(dub)
    _face(dub)
    _output(dub)

    geometry = _verb(verbs, "geometry", "estimate the face geometry of a video", compute=True)
    geometry.add_argument("video", type=Path)
    geometry.add_argument("--out", type=Path, required=True, help="geometry .safetensors")
    geometry.add_argument("--preview", type=Path, help="also write a video with the mesh over the face")
    _face(geometry)
    _face_model(geometry)

    edit = _verb(
        verbs, "edit", "change a geometry file: how far, how smooth, how early and how fast the face moves"
    )
    edit.add_argument("geometry", type=Path)
    edit.add_argument("--out", type=Path, required=True, help="geometry .safetensors")
    edit.add_argument(
        "--mouth-gain",
        type=float,
        default=1.0,
        metavar="0..2",
        help="0 holds the mouth still, 2 moves it twice as far",
    )
    edit.add_argument(
        "--upper-gain", type=float, default=1.0, metavar="0..2", help="the same for brows, cheeks and lids"
    )
    edit.add_argument(
        "--smoothing", type=float, default=0.0, metavar="S", help="seconds over which the mouth is averaged"
    )
    edit.add_argument(
        "--shift",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds the mouth comes later (negative: earlier)",
    )
    edit.add_argument(
        "--add",
        nargs="+",
        default=[],
        metavar="NAME=AMOUNT",
        help="expressions by ARKit name, such as mouthSmileLeft=0.2",
    )
    edit.add_argument(
        "--freeze",
        nargs="+",
        default=[],
        metavar="PART@FRAME",
        help="hold lower, upper, expression or pose as in a frame",
    )
    edit.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="0.1..10",
        help="retime: 2 is twice as fast, at the same frame rate",
    )
    _face_model(edit)

    export = _verb(verbs, "export", "write a geometry file as meshes or as named expression scores")
    export.add_argument("geometry", type=Path)
    export.add_argument("--obj", type=Path, metavar="DIR", help="a numbered OBJ file a frame")
    export.add_argument("--glb", type=Path, metavar="FILE", help="one animated glTF binary")
    export.add_argument(
        "--csv", type=Path, metavar="FILE", help="ARKit scores and head angles, a row a frame"
    )
    export.add_argument("--json", type=Path, metavar="FILE", help="Live-Link-style frames")
    _face_model(export)

    style = _verb(verbs, "style", "extract how a person speaks", compute=True)
    style.add_argument(
        "video", type=Path, nargs="+", help="one or more videos (or geometry files) of the same person"
    )
    style.add_argument("--out", type=Path, required=True, help="style .safetensors")
    style.add_argument("--name", help="name shown to users; default: the first file's name")
    _face(style)

    animate = _verb(verbs, "animate", "make geometry speak", compute=True)
    animate.add_argument("--geometry", type=Path, required=True, help="geometry of the source video")
    animate.add_argument("--audio", type=Path, required=True)
    animate.add_argument("--style", type=Path, help="default: the geometry's own style")
    animate.add_argument("--out", type=Path, required=True, help="lip-synced geometry .safetensors")
    _style_strength(animate)
    _length(animate)

    render = _verb(verbs, "render", "render lip-synced geometry with the video's own pixels", compute=True)
    render.add_argument("--video", type=Path, required=True)
    render.add_argument("--geometry", type=Path, required=True, help="made by 'personatalk animate'")
    render.add_argument(
        "--audio", type=Path, help="sound of the output; default: the one that 'animate' was given"
    )
    render.add_argument("--out", type=Path, required=True)
    _output(render)

    reconstruct = _verb(
        verbs,
        "reconstruct",
        "render a video's own geometry from references some frames away (self-test)",
        compute=True,
    )
    reconstruct.add_argument("video", type=Path)
    reconstruct.add_argument(
        "--exclude-window",
        type=int,
        default=12,
        metavar="K",
        help="references are at least K frames away (default 12)",
    )
    reconstruct.add_argument("--out", type=Path, required=True)
    reconstruct.add_argument("--report", type=Path, help="PSNR and SSIM inside face and lips, as JSON")
    _references(reconstruct)
    _face(reconstruct)

    evaluate = _verb(
        verbs, "evaluate", "score one dubbed video against its source and its sound", compute=True
    )
    evaluate.add_argument("--video", type=Path, required=True, help="the dubbed video, of any maker")
    evaluate.add_argument("--reference", type=Path, required=True, help="the video it was made from")
    evaluate.add_argument("--audio", type=Path, required=True, help="the speech it was made with")
    evaluate.add_argument("--out", type=Path, help="also write the scores and curves as JSON")
    _judges(evaluate)
    _length(evaluate)
    _face(evaluate)

    quality = _verb(
        verbs, "benchmark-quality", "the paper's tables on a folder of talking clips", compute=True
    )
    quality.add_argument("--data", type=Path, required=True, help="folder of videos with sound")
    quality.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for dubs, quality.json, quality.md and quality.html; resumed when it exists",
    )
    quality.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the table; default: all")
    quality.add_argument(
        "--outputs",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="somebody else's dubs, files named as their sources",
    )
    quality.add_argument(
        "--foreign-outputs",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="the same, with the sounds of pairs.tsv",
    )
    quality.add_argument("--frames", "--max-frames", type=int, help="dub only the first frames of each clip")
    quality.add_argument("--seconds", type=float, help="the same in seconds")
    quality.add_argument(
        "--compare", type=int, metavar="N", help="compare the pixels of the first N of these frames only"
    )
    quality.add_argument(
        "--clips",
        nargs="+",
        metavar="N|NAME",
        help="use only the first N clips, or those that begin with a name",
    )
    quality.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="Moonshine-tiny's encoder as released, for the row ridge_speech",
    )
    quality.add_argument(
        "--ridge",
        type=Path,
        metavar="FILE",
        help="ridge regression of yours; default: the bundled coefficients",
    )
    _judges(quality)

    study = _verb(
        verbs, "user-study", "make a blind viewing test as one offline page, or analyse its answers"
    )
    study.add_argument("--systems", nargs="+", default=[], metavar="NAME=DIR", help="whose videos are shown")
    study.add_argument("--reference", type=Path, help="folder of the original videos, shown beside")
    study.add_argument(
        "--kind",
        choices=("mos", "ab"),
        default="mos",
        help="rate each from 1 to 5, or choose the better of two",
    )
    study.add_argument("--out", type=Path, help="folder for study.html and study_key.json")
    study.add_argument(
        "--answers",
        type=Path,
        nargs="+",
        default=[],
        help="CSV files that raters saved; analyses them with --key",
    )
    study.add_argument("--key", type=Path, help="study_key.json of the study")
    study.add_argument("--seed", type=int, default=0)

    doctor = _verb(
        verbs,
        "doctor",
        "show what is installed, which weights were found, device, expected time and memory",
        compute=True,
    )
    doctor.add_argument("--json", action="store_true", help="machine-readable output")

    batch = _verb(verbs, "batch", "dub every line of a manifest, on Ray where it is installed", compute=True)
    batch.add_argument(
        "--manifest", type=Path, required=True, help="JSON Lines; fields in personatalk_core/batch/README.md"
    )
    batch.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for outputs, reports and results.jsonl; resumed when it exists",
    )
    batch.add_argument(
        "--runner",
        choices=("auto", "ray", "one-by-one"),
        default="auto",
        help="auto: Ray where it is installed",
    )
    batch.add_argument(
        "--address", metavar="HOST:PORT", help="a running Ray cluster; default: Ray on this machine"
    )
    batch.add_argument("--workers", type=int, metavar="N", help="processes at most; default: as many as fit")
    batch.add_argument("--cpus-per-worker", type=float, default=2.0, metavar="N", help="default 2")
    batch.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="F",
        help="default 1 where there are GPUs; 0.5 lets two share one",
    )
    _signing(batch)
    batch.add_argument(
        "--retries", type=int, default=0, metavar="N", help="run a failed job up to N more times"
    )

    publish = _verb(verbs, "publish", "upload weights and model card to the Hub")
    publish.add_argument("--repo", required=True, metavar="OWNER/NAME")
    publish.add_argument("--folder", type=Path, help="weights to upload; default: the bundled ones")
    publish.add_argument(
        "--public", action="store_true", help="make a new repository public (default: private)"
    )

    prepare = _verb(
        verbs, "prepare", "raw videos to a folder to train from: 25 fps, 16 kHz, 256-pixel crops, checked"
    )
    prepare.add_argument(
        "--data", type=Path, required=True, help="folder of videos; an INDEX.tsv may name speakers and lags"
    )
    prepare.add_argument(
        "--out", type=Path, required=True, help="folder for clips and manifest.json; resumed when it exists"
    )
    prepare.add_argument(
        "--with-silent",
        action="store_true",
        help="keep clips without usable speech, for the renderer and the face model",
    )
    prepare.add_argument(
        "--held-out", type=float, default=0.15, metavar="SHARE", help="of the speakers, kept for validation"
    )

    train = _verb(verbs, "train", "train a part from a folder of videos")
    train.add_argument("part", choices=("face-model", "speech", "renderer"))
    train.add_argument("--data", type=Path, required=True, help="folder of videos")
    train.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, curves and the final weights"
    )
    train.add_argument("--steps", type=int, help="training steps; default: the part's own recipe")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--encoder", choices=("moonshine", "hubert"), help="speech: what hears (default: moonshine)"
    )
    train.add_argument(
        "--encoder-weights", metavar="FILE|DIR|OWNER/NAME", help="speech: pretrained weights to start from"
    )
    train.add_argument(
        "--hold-out",
        nargs="+",
        metavar="SPEAKER",
        help="speech, renderer: who is never trained on; default: some, drawn",
    )
    train.add_argument(
        "--accelerate",
        action="store_true",
        help="speech, renderer: one of the processes that 'accelerate launch' started",
    )
    train.add_argument(
        "--recipe",
        type=Path,
        help="speech, renderer: JSON of options; default: the recipe of the bundled weights",
    )

    demo = _verb(verbs, "demo", "dub the sample clip with the sample line", compute=True)
    demo.add_argument("--out-dir", type=Path, default=Path("out"))
    demo.add_argument(
        "--inputs",
        type=Path,
        metavar="DIR",
        help="only write what the example workflows name, into ComfyUI's input folder",
    )

    _verb(verbs, "bench", "time the stages on this machine", compute=True)
    register_study(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    args = build_parser().parse_args(arguments)
    from . import verbs as commands  # heavy imports only once a verb is known

    if args.verb == "batch":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    bars = ProgressBars(quiet=args.quiet)
    try:
        with bars:
            result = getattr(commands, args.verb.replace("-", "_"))(args, bars)
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return 2
    except (
        OSError
    ) as error:  # the disk, a name, a permission: never a half file, since writing is whole or not at all
        where = f" ({error.filename})" if error.filename else ""
        print(
            (
                f"personatalk: {error.strerror or error}{where}; check names, permissions and the free "
                "space on the disk."
            ),
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(
            "personatalk: interrupted; no half file was left, "
            "the same command goes on from what was finished",
            file=sys.stderr,
        )
        return 130
    if result is not None and not args.quiet:
        text = result if isinstance(result, str) else json.dumps(result, indent=2)
        print(text.encode("utf-8", "backslashreplace").decode())  # names of files need not be UTF-8
    return 0


def options_of(args: argparse.Namespace) -> DubOptions:
    """The verified DubOptions that the given arguments state; absent ones keep their defaults."""
    known = {f.name for f in dataclasses.fields(DubOptions)}
    return DubOptions(
        **{name: value for name, value in vars(args).items() if name in known and value is not None}
    ).verify()


def _verb(
    verbs: argparse._SubParsersAction, name: str, text: str, *, compute: bool = False
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    verb.add_argument("--quiet", action="store_true", help="print nothing but errors")
    verb.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder looked in before the Hub and the bundled weights"
    )
    verb.add_argument(
        "--hub", metavar="OWNER/NAME@COMMIT", help="Hub repository with weights, pinned to a full commit hash"
    )
    verb.add_argument(
        "--offline", action="store_true", help="do not ask the Hub; use what it left in the cache"
    )
    if compute:
        verb.add_argument(
            "--device", choices=DEVICES, default="auto", help="auto takes the GPU where there is one"
        )
        verb.add_argument("--dtype", choices=DTYPES, default="auto", help="number format of the renderer")
        verb.add_argument("--seed", type=int, default=0)
    return verb


def _style_strength(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--style-strength",
        type=float,
        default=1.0,
        metavar="0..2",
        help="0 average speaker, 1 the person, 2 exaggerated",
    )


def _length(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--length",
        choices=LENGTH_MODES,
        default="cut_off",
        help="what to do when sound and picture differ in length",
    )


def _face(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--face",
        default="auto",
        metavar="auto|largest|index:N|point:X,Y@FRAME",
        help="which face, where there are several",
    )
    verb.add_argument(
        "--initializer",
        default="landmarks",
        metavar="landmarks|FILE",
        help="FILE: Deng et al.'s network as .safetensors",
    )


def _face_model(verb: argparse.ArgumentParser) -> None:
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


def _judges(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--judges",
        type=Path,
        metavar="DIR",
        help="inception.onnx, arcface.onnx, lpips.onnx, syncnet.safetensors of yours",
    )


def _references(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--lip-references", type=int, default=50, metavar="N", help="N_l of the paper, 25 there (default 50)"
    )
    verb.add_argument(
        "--face-references", type=int, default=5, metavar="N", help="N_f of the paper (default 5)"
    )


def _output(verb: argparse.ArgumentParser) -> None:
    _references(verb)
    verb.add_argument("--report", type=Path, help="what happened to each frame, as JSON")
    verb.add_argument("--mask-out", type=Path, help="also write the mask of changed pixels as a video")
    verb.add_argument("--lossless", action="store_true", help="lossless RGB instead of H.264 yuv420p")
    verb.add_argument(
        "--no-provenance",
        dest="provenance",
        action="store_false",
        help='do not write the "AI-edited" metadata',
    )
    _signing(verb)


def _signing(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--sign-certificate",
        type=Path,
        metavar="PEM",
        help="sign the output (C2PA) with this certificate chain",
    )
    verb.add_argument(
        "--sign-key", type=Path, metavar="PEM", help="private key of the certificate, not encrypted"
    )
    verb.add_argument(
        "--sign-algorithm",
        default="es256",
        metavar="ALG",
        help="es256 (default), es384, es512, ps256 ... ed25519",
    )
    verb.add_argument(
        "--sign-timestamp", default="", metavar="URL", help="time stamp authority to ask; default: none"
    )


def parse_hub(text: str | None):
    """``OWNER/NAME@COMMIT`` as a HubSource, or None. Raises OptionsError for any other form."""
    if text is None:
        return None
    from ..weights.resolver import HubSource

    repository, _, revision = text.partition("@")
    if repository.count("/") != 1 or not revision:
        raise OptionsError(
            f"hub is '{text}' but expected OWNER/NAME@COMMIT with the full 40-digit commit hash."
        )
    return HubSource(repository, revision)
