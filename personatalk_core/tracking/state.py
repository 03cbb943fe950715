"""What a follower knows after some frames, as tensors and JSON values, so that another run goes on with the
next frame."""

from __future__ import annotations

from array import array

import numpy as np
import torch
from torch import Tensor

from .follow import FaceFollower
from .tracklet import Tracklet, TrackletRows

ARRAYS = ("frames", "turn", "size", "appearance_change")  # of each tracklet, one entry a reading
LAST_READING = ("colours", "centre", "velocity")


def state_of(follower: FaceFollower) -> tuple[dict[str, Tensor], dict]:
    """Everything that the next frame's reading depends on. The follower must keep its readings in files."""
    tracklets = follower.tracklets
    tensors = {"shots": _tensor(follower.shots), "glimpses": _tensor(array("q", follower.glimpses))}
    for name in ARRAYS:
        tensors[name] = _tensor(*(getattr(tracklet, name) for tracklet in tracklets))
    tensors["rows"] = _tensor(*(tracklet.landmarks.numbers for tracklet in tracklets))
    for k, tracklet in enumerate(tracklets):
        for name in LAST_READING:
            tensors[f"{k}.{name}"] = torch.from_numpy(np.array(getattr(tracklet, name)))
        colours = list(tracklet.appearance.colours.values())
        tensors[f"{k}.appearance"] = torch.from_numpy(np.stack(colours)) if colours else torch.zeros(0)
    thumbnail, changes = follower.cuts.state
    if thumbnail is not None:
        tensors["thumbnail"] = torch.from_numpy(thumbnail)
    config = {
        "changes": changes,
        "next_deep_search": follower.next_deep_search,
        "active": [tracklets.index(tracklet) for tracklet in follower.active],
        "tracklets": [
            {
                "shot": tracklet.shot,
                "readings": len(tracklet.frames),
                "box": [float(v) for v in tracklet.box],
                "extent": float(tracklet.extent),
                "poses": [list(step) for step in tracklet.appearance.colours],
            }
            for tracklet in tracklets
        ],
    }
    return tensors, config


def restore(follower: FaceFollower, tensors: dict[str, Tensor], config: dict) -> None:
    """Bring a new follower, whose row files hold the readings, to a state of :func:`state_of`."""
    follower.shots = array("q", tensors["shots"].tolist())
    follower.glimpses = tensors["glimpses"].tolist()
    follower.next_deep_search = int(config["next_deep_search"])
    follower.cuts.state = (
        tensors["thumbnail"].numpy().copy() if "thumbnail" in tensors else None,
        config["changes"],
    )
    start = 0
    for k, saved in enumerate(config["tracklets"]):
        readings = slice(start, start + saved["readings"])
        start = readings.stop
        x, y, side = saved["box"]
        tracklet = Tracklet(int(saved["shot"]), box=(x, y, side), extent=saved["extent"])
        for name in ARRAYS:
            setattr(tracklet, name, array(getattr(tracklet, name).typecode, tensors[name][readings].tolist()))
        rows = tensors["rows"][readings].tolist()
        tracklet.landmarks, tracklet.blendshapes = (TrackletRows(store, rows) for store in follower.rows)
        for name in LAST_READING:
            setattr(tracklet, name, tensors[f"{k}.{name}"].numpy().copy())
        colours = tensors[f"{k}.appearance"].numpy().copy()
        for pose, pose_colours in zip(saved["poses"], colours, strict=True):
            tracklet.appearance.colours[(pose[0], pose[1])] = pose_colours
        follower.tracklets.append(tracklet)
    follower.active = [follower.tracklets[k] for k in config["active"]]


def _tensor(*arrays: array) -> Tensor:
    joined = np.concatenate([np.asarray(values) for values in arrays]) if arrays else np.zeros(0, np.int64)
    return torch.from_numpy(joined.copy())
