"""Rendered frames to a video: pasted back, coded in segments that are kept, joined with the sound.

The output is made in segments that depend on nothing but their own frames, so that finished ones are never
made again.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..compose.masks import TURNED_DEGREES, passthrough_weight, turned_weight
from ..compose.paste_back import paste_back
from ..config import DubOptions
from ..media.audio_stream import AudioStream
from ..media.picture_coding import format_of, picture_coding
from ..media.provenance import provenance_metadata
from ..media.segments import SegmentedVideo
from ..types import Cache, DubReport, status_names
from ..weights.checkpoint import sha256_of
from .frame_renderer import FrameRenderer, RenderedFrame
from .run import OutputFiles, Run, sound_of
from .run_cache import identity_of

SEGMENT = 240  # output frames finished and kept together; x264's own groups of pictures are at most 250


@dataclass(frozen=True, eq=False)
class CodedOutput:
    """One file of a dub: its segments, what is heard in it, and its metadata."""

    segments: SegmentedVideo
    path: Path
    sound: AudioStream | None
    metadata: dict[str, str]


def write_dub(
    frames: FrameRenderer, out: Path | str | OutputFiles, run: Run, audio: AudioStream | Path | None = None
) -> DubReport:
    """Paste back every frame and write the video; the file appears when it is complete.

    Args:
        frames: from :func:`personatalk_core.pipeline.render`; only unfinished segments are asked for.
        out:    the video, and a mask of the changed pixels where asked for.
        run:    its cache keeps finished segments; a run without one gets a cache beside the output.
        audio:  sound of the output; None takes the file that the geometry was animated by.
    Returns:
        What happened to each frame.
    Raises:
        MediaError: the output cannot be written, or the sound has moved or changed.
    """
    files = OutputFiles.of(out).verify()
    sound = AudioStream(audio) if isinstance(audio, Path) else audio or sound_of(frames.target)
    with ExitStack() as stack:
        cache = run.cache
        if cache is None:
            inputs = {"video": frames.clip.sha256, "audio": sound and sha256_of(sound.path)}
            inputs |= {
                "geometry": identity_of(frames.target),
                "references": identity_of(frames.references),
            }
            run, cache = stack.enter_context(run.caching("render", files, **inputs))
        outputs = coded_outputs(frames, files, run.options, sound, cache)

        # step 1: render, paste and code the segments that are missing
        video = outputs[0].segments
        missing = [k for k in range(video.count) if not all(o.segments.finished(k) for o in outputs)]
        resumed = sum(len(video.frames(k)) for k in range(video.count) if k not in missing)
        frames.counter.start_at(resumed)
        weight = fade_weight(frames)
        rendered = frames.frames(video.frames(k) for k in missing)
        for number in missing:
            with ExitStack() as segment:
                writers = [segment.enter_context(output.segments.writer(number)) for output in outputs]
                for _ in video.frames(number):
                    item = next(rendered)
                    picture, changed = paste(item, float(weight[item.index]))
                    writers[0].write(picture)
                    for mask_writer in writers[1:]:
                        mask_writer.write(grey_frame(changed))
                    run.progress.picture(picture)
                    frames.counter.advance(1)

        # step 2: join the segments with the sound
        frames.release()
        for output in outputs:
            unfinished = cache.path(f"joined{output.path.suffix}")
            output.segments.join(
                output.sound, output.metadata, unfinished, lambda *_: frames.counter.advance(0)
            )
    report = report_on(frames, run.options)
    report.resumed = resumed
    report.warnings += run.new_warnings()
    return report


def coded_outputs(
    frames: FrameRenderer, out: OutputFiles, options: DubOptions, sound: AudioStream | None, cache: Cache
) -> list[CodedOutput]:
    """The video and, where asked for, its mask: each with the target's clock and the clip's size."""
    clip, timeline = frames.clip, frames.target.timeline
    coding = picture_coding(
        format_of(out.video), clip.width, clip.height, timeline, lossless=options.lossless, like=clip
    )
    segment = cache.window or SEGMENT
    video = SegmentedVideo(cache, "video", coding, out.video, segment)
    outputs = [CodedOutput(video, out.video, sound, provenance_metadata() if options.provenance else {})]
    if out.mask:
        grey = picture_coding(
            format_of(out.mask), clip.width, clip.height, timeline, lossless=options.lossless
        )
        mask = SegmentedVideo(cache, "mask", grey, out.mask, segment)
        outputs.append(CodedOutput(mask, out.mask, None, {}))
    return outputs


def fade_weight(frames: FrameRenderer) -> np.ndarray:
    """(T,) in [0, 1]: how much of each rendered frame is shown, beside frames that pass through and in heads
    that turn away."""
    target = frames.target
    shown = passthrough_weight(target.status.numpy(), target.times.double().numpy(), target.shot.numpy())
    return shown if frames.whole_face else shown * turned_weight(frames.source.rotation[target.source_frame])


def report_on(frames: FrameRenderer, options: DubOptions) -> DubReport:
    """What happened to each frame, and what a user should know."""
    target = frames.target
    names = status_names(target.status.tolist())
    report = DubReport(
        frames=target.frame_count,
        dubbed=names.count("ok"),
        passed_through={name: names.count(name) for name in sorted(set(names) - {"ok"})},
        status=names,
        lip_references=frames.references.lip.tolist(),
        settings={f.name: getattr(options, f.name) for f in fields(options)},
        warnings=[*frames.warnings, *frames.clip.remarks],
    )
    turned = turned_weight(frames.source.rotation[target.source_frame])
    fading = int(((turned < 1) & target.usable.numpy()).sum())
    if fading and not frames.whole_face:
        degrees = f"{TURNED_DEGREES[0]:.0f} degrees"
        report.warnings.append(
            f"In {fading} frames the head is turned by more than {degrees}; they fade to the source."
        )
    return report


def paste(item: RenderedFrame, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """A rendered frame laid into its source frame: (H, W, 3) uint8, and (H, W) float32 how much of each pixel
    was replaced."""
    if item.crop is None or item.paste_mask is None:
        return item.frame, np.zeros(item.frame.shape[:2], np.float32)
    return paste_back(item.frame, item.crop, item.paste_mask, item.box, weight=weight, seed=item.index)


def grey_frame(mask: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] to a grey (H, W, 3) uint8 frame; any weight above 0 shows as at least 1."""
    grey = np.where(mask > 0, np.maximum(np.round(mask * 255), 1), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
