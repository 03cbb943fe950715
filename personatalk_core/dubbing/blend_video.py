"""A rendered video laid over another version of its source, from file to file: for a source that was graded
or cleaned meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..compose.blend import blend_frame
from ..config import DubOptions
from ..errors import MediaError
from ..media.audio_stream import read_audio
from ..media.provenance import provenance_metadata
from ..media.video_reader import VideoReader
from ..media.video_writer import VideoWriter
from ..types import FaceGeometry, OnProgress, VideoInfo

BLACK_LEVEL = 2 / 255  # lossy coding leaves this much in a mask's black


def blend_videos(
    under: VideoInfo,
    rendered: VideoInfo,
    mask: VideoInfo,
    geometry: FaceGeometry,
    out: Path,
    options: DubOptions,
    *,
    strength: float = 1.0,
    feather: float = 0.0,
    on_progress: OnProgress | None = None,
) -> None:
    """Paste what ``mask`` marks of ``rendered`` over ``under``; sound and timing are the rendered video's.

    Args:
        under:    the source video or another version of it, of the same size and frames.
        rendered, mask: both outputs of one rendering.
        geometry: the one rendered; says which source frame each output frame was shown over.
    Raises:
        MediaError: sizes or frame counts do not fit each other.
    """
    for name, other in (("rendered video", rendered), ("mask", mask)):
        if (other.width, other.height) != (under.width, under.height):
            raise MediaError(
                f"The {name} is {other.width}x{other.height} but the video under it "
                f"{under.width}x{under.height}; bring them to one size."
            )
        if other.frame_count != geometry.frame_count:
            raise MediaError(
                f"The {name} has {other.frame_count} frames but the geometry {geometry.frame_count}; pass "
                "what was rendered from it."
            )
    shown = geometry.source_frame.tolist()
    if max(shown) >= under.frame_count:
        raise MediaError(
            f"The video has {under.frame_count} frames but frame {max(shown)} is needed; pass a version "
            "with all of its source's frames."
        )
    timeline = geometry.timeline
    sound = read_audio(rendered.path) if rendered.has_audio else None
    metadata = provenance_metadata() if options.provenance else {}
    with VideoWriter(
        out,
        under.width,
        under.height,
        timeline,
        audio=sound,
        lossless=options.lossless,
        metadata=metadata,
        like=under,
    ) as writer:
        frames = zip(
            VideoReader(under).frames(shown),
            VideoReader(rendered).frames(),
            VideoReader(mask).frames(),
            strict=True,
        )
        for done, (below, above, grey) in enumerate(frames, start=1):
            weight = grey[..., 0].astype(np.float32) / 255
            writer.write(
                blend_frame(below, above, np.where(weight > BLACK_LEVEL, weight, 0), strength, feather)
            )
            if on_progress:
                on_progress(done, geometry.frame_count)
