"""Which source frame an output frame is to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from ...config import LengthMode
from ...errors import MediaError
from ...media.timing import make_timeline
from ...types import FaceGeometry, VideoInfo


def pair_frames(output: VideoInfo, source: FaceGeometry, audio_duration: float, length: LengthMode) -> Tensor:
    """The source frame shown in each output frame.

    Args:
        output:         T frames, of any maker; another frame rate than the source's is matched by time.
        source:         geometry of the source video.
        audio_duration: seconds of the sound that drives the output.
        length:         how picture and sound were settled; matters where the output outlasts the source.
    Returns:
        (T,) int64 into the source.
    Raises:
        MediaError: the output lasts more than a second longer than the source and ``length`` does not explain
            it.
    """
    if output.frame_count == source.frame_count:
        return torch.arange(output.frame_count)
    timeline = make_timeline(source, audio_duration, length)
    middles = torch.from_numpy(output.times + output.durations / 2)
    if output.frame_count == timeline.frame_count:
        return torch.from_numpy(timeline.source_frame)
    ends = torch.from_numpy(timeline.times + timeline.durations)
    if float(middles[-1]) > float(ends[-1]) + 1.0:
        raise MediaError(
            f"{output.path} lasts {output.duration:.2f} s but its source with length '{length}' only "
            f"{float(ends[-1]):.2f} s; "
            "pass the source it was made from, and the --length it was made with."
        )
    shown = torch.searchsorted(ends, middles).clamp(max=timeline.frame_count - 1)
    return torch.from_numpy(timeline.source_frame)[shown]
