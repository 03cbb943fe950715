"""What a finished dub says: the report as text, and what the page needs for its players and viewers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.latest import InputImpl, io

from .media_sockets import temporary, view_of

if TYPE_CHECKING:
    from ..personatalk_core.dubbing.progress import Progress
    from ..personatalk_core.types import DubReport, FaceGeometry


def dubbed_outputs() -> list[io.Output]:
    """The outputs of every node that writes a dubbed video; :func:`dubbed` fills them."""
    return [
        io.Video.Output(display_name="video", tooltip="The dubbed video with the new sound: to Save Video."),
        io.Video.Output(
            display_name="mask",
            tooltip=(
                "A grey video of what was changed: black untouched, white replaced. To Video to Mask for a "
                "MASK."
            ),
        ),
        io.String.Output(
            display_name="report", tooltip="What happened to each frame, and the settings, as JSON."
        ),
    ]


def dubbed(out: Path, mask: Path, report: DubReport, progress: Progress, ui: dict) -> io.NodeOutput:
    """The outputs of :func:`dubbed_outputs` and what the page shows (:func:`dub_ui`)."""
    videos = InputImpl.VideoFromFile(str(out)), InputImpl.VideoFromFile(str(mask))
    return io.NodeOutput(*videos, report_text(report, progress), ui=ui)


def report_text(report: DubReport, progress: Progress) -> str:
    """The report as JSON, with the seconds each stage took."""
    return json.dumps(
        dataclasses.asdict(report)
        | {"seconds": {name: round(value, 3) for name, value in progress.seconds.items()}},
        indent=1,
    )


def dub_ui(before: Path, after: Path, *, length: str = "", geometry: FaceGeometry | None = None) -> dict:
    """Both videos for the before/after player, and how the picture lies along the sound: by name, or read
    from the geometry."""
    player = {"before": view_of(before), "after": view_of(after), "length": length}
    if geometry is not None and geometry.reference is not None:
        player["times"] = _milliseconds(geometry.times)
        player["source_times"] = _milliseconds(geometry.reference.times[geometry.source_frame])
    return {"personatalk_dub": [player]}


def _milliseconds(times) -> list[float]:
    return [round(time, 3) for time in times.tolist()]


def geometry_ui(geometry, face_model, drawn: Path) -> dict:
    """The preview video, and the moving mesh as a compact file for the 3D viewer."""
    from ..personatalk_core.previews.geometry_viewer import write_viewer_file

    path = write_viewer_file(temporary(".ptmesh"), geometry, face_model)
    return {"personatalk_geometry": [{"video": view_of(drawn), "mesh": view_of(path)}]}
