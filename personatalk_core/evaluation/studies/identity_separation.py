"""Whether identity coefficients say who it is: clips of one person against clips of different people (paper
3.1, alpha).

``personatalk study identity-separation FOLDER`` takes videos or geometry files
named SPEAKER__ANYTHING. For people that the face model was not learned from, leave their clips out of ``train
face-model`` and pass the result as ``--face-model``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...checks import check_shape
from ...dubbing.progress import Progress
from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...geometry.fitting import observed_frames
from ...geometry.geometry_file import load_geometry
from ...geometry.initialisation import initial_coefficients
from ...types import as_tensor
from .geometry_fit import ENDINGS, tracks_of

CLIPS_A_SPEAKER = 10  # at most, so that nobody outweighs all others


def same_person_auc(identities: Tensor, speakers: Sequence[str]) -> float:
    """The chance that two clips of one person are nearer, by the cosine of their identities, than two of
    different people.

    Args:
        identities: (N, A).
        speakers:   N names, at least one twice and at least two different.
    Raises:
        OptionsError: no pair of one person, or none of two.
    """
    check_shape("identities", identities, len(speakers), "A")
    unit = identities.double() / identities.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
    first, second = torch.triu_indices(len(speakers), len(speakers), 1)
    similarity = (unit @ unit.T)[first, second]
    same = torch.tensor(
        [speakers[i] == speakers[j] for i, j in zip(first.tolist(), second.tolist(), strict=True)],
        dtype=torch.bool,
    )
    if not bool(same.any()) or bool(same.all()):
        raise OptionsError(
            "identities are compared within and between people; pass clips of two people or more, one of "
            "them twice."
        )
    within, between = similarity[same], similarity[~same].sort().values
    below = (
        torch.searchsorted(between, within, right=False).double()
        + torch.searchsorted(between, within, right=True).double()
    )
    return float(below.mean() / 2 / len(between))


def identities_in(folder: Path, face_model: FaceModel, tracks: Path | None = None) -> Mapping[str, Tensor]:
    """File name to identity (A,), of the geometry files in a folder, else of its videos. Raises OptionsError
    for neither."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if files:
        return {path.name: load_geometry(path, face_model).identity for path in _first_clips(files)}
    videos = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in ENDINGS)
    if not videos:
        raise OptionsError(
            f"{folder} holds neither geometry files nor videos; expected some named SPEAKER__ANYTHING."
        )
    found = {}
    for path, track in tracks_of(_first_clips(videos), tracks).items():
        points = as_tensor(track.landmarks)[observed_frames(track)][:, face_model.landmark_id]
        found[path.name] = initial_coefficients(points, face_model).identity
    return found


def speaker_in(name: str) -> str:
    """The speaker of SPEAKER__ANYTHING, or of SPLIT__SPEAKER__ANYTHING where the split is train, test or
    hires."""
    parts = name.split("__")
    return parts[1] if parts[0] in ("train", "test", "hires") and len(parts) > 2 else parts[0]


def _first_clips(paths: Sequence[Path]) -> list[Path]:
    count: dict[str, int] = {}
    chosen = []
    for path in paths:
        speaker = speaker_in(path.name)
        count[speaker] = count.get(speaker, 0) + 1
        if count[speaker] <= CLIPS_A_SPEAKER:
            chosen.append(path)
    return chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("data", type=Path, help="folder of videos or geometry files named SPEAKER__ANYTHING")
    parser.add_argument(
        "--face-model", type=Path, help="another face model than the bundled one, .safetensors"
    )
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="DIR",
        help="keep tracks there, so that a second run need not track again",
    )


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The AUC, and how many clips of how many people it rests on."""
    found = identities_in(args.data, load_face_model(args.face_model), args.tracks)
    speakers = [speaker_in(name) for name in found]
    auc = same_person_auc(torch.stack(list(found.values())), speakers)
    return f"same-person AUC {auc:.4f} over {len(speakers)} clips of {len(set(speakers))} people"
