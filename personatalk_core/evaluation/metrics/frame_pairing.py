"""Which source frame an output frame is to be compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...config import LengthMode
from ...errors import MediaError
from ...media.timing import make_timeline
from ...types import FaceGeometry, VideoInfo


@dataclass(frozen=True, eq=False)
class VideoPair:
    """An output beside its source.

    output, source:  both videos, of one size.
    output_geometry: of the T frames that are looked at.
    source_geometry: of the whole source, S frames.
    source_frame:    (T,) int64, the source frame that each output frame shows.
    """

    output: VideoInfo
    source: VideoInfo
    output_geometry: FaceGeometry
    source_geometry: FaceGeometry
    source_frame: Tensor

    @property
    def truth(self) -> FaceGeometry:
        """The source's geometry, T frames, on the output's clock."""
        output = self.output_geometry
        return replace(
            self.source_geometry[self.source_frame], times=output.times, durations=output.durations
        )

    @property
    def comparable(self) -> Tensor:
        """(K,) int64, output frames that show a usable face together with their source."""
        usable = self.output_geometry.usable & self.source_geometry.usable[self.source_frame]
        return usable.nonzero()[:, 0]

    @property
    def identical(self) -> bool:
        """The output is the source itself, with the same geometry, frame by frame."""
        frames = torch.arange(len(self.source_frame))
        return self.output.path == self.source.path and all(
            torch.equal(first, second)
            for first, second in (
                (self.source_frame, frames),
                (self.output_geometry.expression, self.source_geometry.expression[frames]),
                (self.output_geometry.rotation, self.source_geometry.rotation[frames]),
            )
        )


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
            f"{float(ends[-1]):.2f} s; pass the source it was made from, and the --length it was made with."
        )
    on_timeline = torch.searchsorted(ends, middles).clamp(max=timeline.frame_count - 1)
    return torch.from_numpy(timeline.source_frame)[on_timeline]
