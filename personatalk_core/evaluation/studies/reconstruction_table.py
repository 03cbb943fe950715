"""The renderer alone, on clips whose geometry is known: the numbers of paper 3.2 without speech in between.

    personatalk study reconstruction-table FOLDER [--limit 24] [--rows ours ablation] [--sheets DIR]

Every row renders the same frames of each clip from references some frames away. Scores: PSNR and SSIM inside
the face, inside the lips and of the whole crop; gmsd (a perceptual distance, 0 for equal pictures); detail
around the lips; flicker there and tooth flicker inside the mouth, from one frame to the next while the mouth
is still, of which there are ``pairs``. Detail and flicker are shares of the source's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ...config import CROP_SIZE, DubOptions
from ...dubbing.progress import Progress
from ...dubbing.run import Run
from ...geometry.face_model import FaceModel
from ...media.video_reader import probe
from ...models import Models, load_models
from ...rendering.references import ReferenceOptions
from ..benchmark.clips import cached_geometry
from ..benchmark.renderer_ablations import (
    FACE_ATTENTION_ONLY,
    GLOBAL_ATTENTION,
    LIP_ATTENTION_ONLY,
    WITHOUT_GEOMETRIC_START,
    ablated,
)
from ..metrics.flicker import flicker
from ..metrics.image_quality import gmsd, psnr, ssim
from ..metrics.reconstruction import around_lips, reconstruction_report, region_masks
from .reconstructed_clip import ReconstructedClip, Reconstruction
from .reconstruction_sheet import write_reconstruction_sheet

TITLES = (
    "psnr_face",
    "psnr_lips",
    "ssim_face",
    "ssim_lips",
    "psnr_whole",
    "ssim_whole",
    "gmsd",
    "detail_lips",
    "flicker",
    "tooth_flicker",
    "frames",
    "pairs",
)


@dataclass(frozen=True)
class Row:
    """One way to render. changes: an ablation, of RendererConfig; size: pixels of the crop, None for the
    source's own; random: seed of random references; around: lip references around each frame instead of
    spread over the clip."""

    references: ReferenceOptions = ReferenceOptions(exclude_window=12)
    changes: dict[str, object] = field(default_factory=dict)
    size: int | None = None
    random: int | None = None
    around: bool = False


OURS = Row()
ROWS: dict[str, dict[str, Row]] = {
    "ours": {"ours": OURS},
    "small": {"ours, 256 px": Row(size=CROP_SIZE)},
    "paper": {"paper's protocol, 256 px": Row(ReferenceOptions(lip_count=25), size=CROP_SIZE)},
    "references": {f"N_l = {n}": Row(replace(OURS.references, lip_count=n)) for n in (1, 5, 25, 50)}
    | {"N_l = 5, around the frame": Row(replace(OURS.references, lip_count=5), around=True)},
    "ablation": {
        "full": OURS,
        "w/o lip-attention": Row(changes=FACE_ATTENTION_ONLY),
        "w/o face-attention": Row(changes=LIP_ATTENTION_ONLY),
        "random references": Row(random=0),
        "w/o geometric start": Row(changes=WITHOUT_GEOMETRIC_START),
    },
    "variants": {"aligned": OURS, "global": Row(changes=GLOBAL_ATTENTION)},
}


def score(frames: Iterable[Reconstruction], face_model: FaceModel) -> dict[str, float]:
    """The numbers of one clip in one row; see the module. NaN for flicker where no two neighbouring frames
    have a still mouth."""
    rows: list[dict[str, float]] = []
    changes: list[list[float]] = []
    before: Reconstruction | None = None
    for now in frames:
        image, truth, points = now.image[None], now.truth[None], now.points[None]
        whole = {
            "psnr_whole": psnr(image, truth),
            "ssim_whole": ssim(image, truth),
            "gmsd": gmsd(image, truth),
        }
        rows.append(
            reconstruction_report(image, truth, points, face_model)
            | {name: float(value.mean()) for name, value in whole.items()}
        )
        if before is not None and now.frame == before.frame + 1:
            changes.append(_change(before, now, face_model))
        before = now
    found = {name: [row[name] for row in rows] for name in TITLES if name in rows[0] and name != "frames"}
    scores = {
        name: float(np.nanmedian(v) if name == "detail_lips" else np.nanmean(v)) for name, v in found.items()
    }
    moved = np.array(changes).reshape(-1, 4)
    for name, pairs in (("flicker", moved[:, :2]), ("tooth_flicker", moved[:, 2:])):
        kept = pairs[np.isfinite(pairs).all(axis=1)]
        scores[name] = float(kept[:, 0].sum() / kept[:, 1].sum()) if len(kept) else float("nan")
    return scores | {"frames": float(len(rows)), "pairs": float(np.isfinite(moved[:, :2]).all(axis=1).sum())}


def _change(before: Reconstruction, now: Reconstruction, face_model: FaceModel) -> list[float]:
    """Flicker of output and source around the lips, then inside the mouth, between two neighbouring frames;
    NaN where the mouth moves."""
    points, opening = torch.stack([before.points, now.points]), torch.stack([before.opening, now.opening])
    masks = region_masks(points, face_model, now.image.shape[-1])
    pictures = (torch.stack([before.image, now.image]), torch.stack([before.truth, now.truth]))
    where = (around_lips(masks), masks.inside)
    return [flicker(pair, points, opening, inside, face_model) for inside in where for pair in pictures]


def reconstruction_table(
    videos: Sequence[Path],
    rows: dict[str, Row],
    models: Models,
    *,
    every: int = 1,
    limit: int | None = None,
    cache: Path | None = None,
    sheets: Path | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of every clip in every row.

    Args:
        every:  render every k-th frame and its successor; limit: at most so many frames a clip.
        cache:  folder for fitted geometry.  sheets: folder for a picture of each clip, in a folder a row
            where there are several.
    Returns:
        {row: {clip: {score: value}}}.
    Raises:
        MediaError, FaceError: a clip cannot be read or shows no face.
    """
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in rows}
    for path in videos:
        geometry = cached_geometry(probe(path), Run(models), cache)
        clips: dict[int | None, ReconstructedClip] = {}
        for name, row in rows.items():
            clip = clips.setdefault(row.size, ReconstructedClip(path, geometry, models.face_model, row.size))
            renderer = (
                ablated(models.need_renderer(), **row.changes) if row.changes else models.need_renderer()
            )
            targets = clip.targets(every, limit)
            references, allowed = clip.references(targets, row.references, row.random), None
            if row.around:
                references, allowed = clip.around(targets, row.references)
            frames = clip.render(renderer, targets, references, row.references.exclude_window, allowed)
            if sheets is not None:
                frames = list(frames)
                folder = Path(sheets) / (name.replace("/", "") if len(rows) > 1 else "")
                write_reconstruction_sheet(folder / f"{path.stem}.png", frames, models.face_model)
            table[name][path.stem] = score(frames, models.face_model)
    return table


def markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """Means over clips of every row, then every clip of the first row."""

    def lines(corner: str, rows: dict[str, dict[str, float]]) -> list[str]:
        head = [f"| {corner} | " + " | ".join(TITLES) + " |", "|---" * (len(TITLES) + 1) + "|"]
        return head + [
            f"| {name} | " + " | ".join(f"{row[title]:.3f}" for title in TITLES) + " |"
            for name, row in rows.items()
        ]

    def mean(values: list[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    means = {
        name: {title: mean([scores[title] for scores in clips.values()]) for title in TITLES}
        for name, clips in table.items()
    }
    first = next(iter(table))
    return "\n".join([*lines("row (means over clips)", means), "", *lines(first, table[first])])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("data", type=Path, help="folder of videos, or one video")
    parser.add_argument(
        "--rows", nargs="+", choices=tuple(ROWS), default=["ours"], help="which rows (default: ours)"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="render every K-th frame and its successor (default: all)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="render at most N frames a clip, spread evenly"
    )
    parser.add_argument(
        "--sheets",
        type=Path,
        metavar="DIR",
        help="write pictures of each clip: source, output, difference, mouths",
    )
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--weights", type=Path, help="folder of other weights")
    parser.add_argument("--cache", type=Path, help="folder to keep fitted geometry in")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The table of a folder of videos."""
    models = load_models(DubOptions(device="cpu"), folder=args.weights, parts=("renderer",))
    videos = [args.data] if args.data.is_file() else sorted(args.data.glob("*.mp4"))
    rows = {name: row for group in args.rows for name, row in ROWS[group].items()}
    table = reconstruction_table(
        videos, rows, models, every=args.every, limit=args.limit, cache=args.cache, sheets=args.sheets
    )
    if args.out:
        args.out.write_text(json.dumps(table, indent=1))
    return markdown(table)
