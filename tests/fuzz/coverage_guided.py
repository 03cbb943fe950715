"""The same readers under atheris, which steers its bytes by the lines that they reach (pip install atheris;
Linux).

    python tests/fuzz/coverage_guided.py TARGET -runs=100000

TARGET is one of the keys of TARGETS. Anything but a PersonaTalkError stops the run with the bytes that caused
it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
with atheris.instrument_imports(include=["personatalk_core"]):
    from personatalk_core.batch.job import ResultsFile
    from personatalk_core.batch.manifest import read_manifest
    from personatalk_core.errors import PersonaTalkError
    from personatalk_core.geometry.geometry_file import load_geometry
    from personatalk_core.media.mp4_boxes import clean_aperture
    from personatalk_core.media.provenance import read_marks
    from personatalk_core.media.video_reader import is_animated_webp
    from personatalk_core.speech.style_file import jpeg_size, load_style
    from personatalk_core.weights.checkpoint import load_checkpoint
    from personatalk_core.weights.manifest import parse_manifest

FOLDER = Path(tempfile.mkdtemp())
FILE = FOLDER / "results.jsonl"


def _seeds() -> dict[str, bytes]:
    """One good file for each target, to start from."""
    import json

    import torch
    from safetensors.torch import save

    def packed(kind: str, config: dict, **tensors) -> bytes:
        return save(
            tensors, metadata={"personatalk": json.dumps({"kind": kind, "version": 1, "config": config})}
        )

    row, style = (
        torch.zeros(2),
        {"name": "a", "source": "", "face_model": "f", "network": "n", "thumbnail_bytes": 0},
    )
    shapes = {"identity": (3,), "expression": (2, 4), "rotation": (2, 3), "translation": (2, 2)}
    described = {"frame_size": [4, 4], "face_model": "f", "source": "s", "audio": ["", ""]}
    frames = {name: row.clone() for name in ("scale", "status", "shot", "source_frame", "times", "durations")}
    return {
        "checkpoint": packed("renderer", {}, a=row),
        "style": packed("style", style, vector=row, thumbnail=torch.zeros(1, dtype=torch.uint8)),
        "geometry": packed("geometry", described, **{n: torch.zeros(s) for n, s in shapes.items()}, **frames),
        "batch": b'{"video": "v.mp4", "audio": "a.wav", "out": "o.mp4"}\n',
        "results": b'{"out": "o.mp4", "line": 1, "status": "done"}\n',
        "weights": (ROOT / "personatalk_core" / "weights" / "manifest.json").read_bytes(),
        "boxes": b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x10moov\0\0\0\x08trak",
    }


def _marks(path: Path) -> None:
    read_marks(path)
    clean_aperture(path)
    is_animated_webp(path)
    jpeg_size(path.read_bytes())


TARGETS = {
    "checkpoint": lambda path: load_checkpoint(path, kind="renderer"),
    "style": load_style,
    "geometry": load_geometry,
    "batch": read_manifest,
    "results": lambda path: ResultsFile(path.parent).read(),
    "weights": lambda path: parse_manifest(path.read_text(errors="replace"), "fuzz"),
    "boxes": _marks,
}


def _one(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        TARGETS[sys.argv[1]](FILE)
    except PersonaTalkError:
        return


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(__doc__ + f"\nTargets: {', '.join(TARGETS)}")
    corpus = Path(tempfile.mkdtemp())
    (corpus / "good").write_bytes(_seeds()[sys.argv[1]])
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], _one)
    atheris.Fuzz()
