"""What a follower knows after some frames, as tensors and JSON values, so that another run goes on with the
next frame."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .tracklet import RowsInFile, Tracklet

if TYPE_CHECKING:
    from .follow import FaceFollower

ARRAYS = ("frames", "turn", "size", "appearance_change")  # of each candidate, one entry a reading
POINTS = ("colours", "centre", "velocity")


def state_of(follower: "FaceFollower") -> tuple[dict[str, Tensor], dict]:
    """Everything that the next frame's reading depends on. The follower must keep its readings in files."""
    people = follower.tracklets
    tensors = {"shots": _tensor(follower.shots), "glimpses": _tensor(array("q", follower.glimpses))}
    for name in ARRAYS:
        tensors[name] = _tensor(*(getattr(person, name) for person in people))
    tensors["rows"] = _tensor(*(person.landmarks.numbers for person in people))
    for k, person in enumerate(people):
        for name in POINTS:
            tensors[f"{k}.{name}"] = torch.from_numpy(np.array(getattr(person, name)))
        looks = list(person.look.looks.values())
        tensors[f"{k}.looks"] = torch.from_numpy(np.stack(looks)) if looks else torch.zeros(0)
    last, changes = follower.cuts.memory
    if last is not None:
        tensors["thumbnail"] = torch.from_numpy(last)
    config = {
        "changes": changes,
        "next_deep_search": follower.next_deep_search,
        "active": [people.index(person) for person in follower.active],
        "people": [
            {
                "shot": person.shot,
                "readings": len(person.frames),
                "box": [float(v) for v in person.box],
                "extent": float(person.extent),
                "looks": [list(step) for step in person.look.looks],
            }
            for person in people
        ],
    }
    return tensors, config


def restore(follower: "FaceFollower", tensors: dict[str, Tensor], config: dict) -> None:
    """Bring a new follower, whose row files hold the readings, to a state of :func:`state_of`."""
    follower.shots = array("q", tensors["shots"].tolist())
    follower.glimpses = tensors["glimpses"].tolist()
    follower.next_deep_search = int(config["next_deep_search"])
    follower.cuts.memory = (
        tensors["thumbnail"].numpy().copy() if "thumbnail" in tensors else None,
        config["changes"],
    )
    at = 0
    for k, known in enumerate(config["people"]):
        part = slice(at, at + known["readings"])
        at = part.stop
        person = Tracklet(int(known["shot"]), box=tuple(known["box"]), extent=known["extent"])
        for name in ARRAYS:
            setattr(person, name, array(getattr(person, name).typecode, tensors[name][part].tolist()))
        rows = tensors["rows"][part].tolist()
        person.landmarks, person.blendshapes = (RowsInFile(file, rows) for file in follower.files)
        for name in POINTS:
            setattr(person, name, tensors[f"{k}.{name}"].numpy().copy())
        steps = [tuple(step) for step in known["looks"]]
        person.look.looks = (
            dict(zip(steps, tensors[f"{k}.looks"].numpy().copy(), strict=True)) if steps else {}
        )
        follower.tracklets.append(person)
    follower.active = [follower.tracklets[k] for k in config["active"]]


def _tensor(*parts: array) -> Tensor:
    joined = np.concatenate([np.asarray(part) for part in parts]) if parts else np.zeros(0, np.int64)
    return torch.from_numpy(joined.copy())
