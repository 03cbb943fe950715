"""Stage two over a whole video: source frames in, rendered and pasted frames out, in bounded memory.

Frames are rendered in batches. A window of decoded source frames holds what the batch and its face references
need and forgets the rest; lip references are read and encoded once, before the first batch. The output is
made in segments that depend on nothing but their own frames, so that finished ones are never made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..compose.crop import LANCZOS, crop_boxes, crop_image, crop_points
from ..compose.masks import TURNED_DEGREES, lower_face_mask, passthrough_weight, turned_weight
from ..compose.occlusion import OcclusionDetector
from ..compose.paste_back import paste_back
from ..config import DubOptions
from ..geometry.vertices import posed_vertices
from ..media.audio_stream import AudioStream
from ..media.picture_coding import format_of, picture_coding
from ..media.provenance import provenance_metadata
from ..media.segments import SegmentedVideo
from ..media.video_reader import VideoReader
from ..models import Models
from ..rendering.batch import EncodedReferences
from ..rendering.references import allowed_references
from ..rendering.renderer import Targets, encode_references, render
from ..types import (
    AudioClip,
    Cache,
    CropBoxes,
    DubReport,
    FaceGeometry,
    FrameStatus,
    OnProgress,
    ReferenceSelection,
    Timeline,
    VideoInfo,
)
from .frame_window import FrameWindow
from .oom_fallback import RenderingMemory

# output frames of 256-pixel crops rendered together; on a CPU fewer where crops are larger, so that a batch
# stays short
BATCH = 8
# references of 512 pixels, 5 MB each, kept encoded where alike frames are chosen from all over the clip
MOST_ENCODED = 96
SEGMENT = 240  # output frames finished and kept together; x264's own groups of pictures are at most 250
CROP_SIZES = (
    256,
    320,
    384,
    448,
    512,
    640,
    768,
    896,
    1024,
)  # a crop is worked on at the smallest not below its size in the source


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One output frame. crop (3, R, R) float32 in [0, 1] rendered, or None where the frame passes through.

    frame (H, W, 3) uint8: the source frame.  box (3,).  source_points, target_points (V, 3): crop pixels at
    R. face (R, R) and lip (R, R): the renderer's masks.  shown (R, R): the soft mask through which the crop
    is pasted; outside it the crop need not be what the renderer would make of it.
    """

    index: int
    frame: np.ndarray
    box: Tensor
    crop: Tensor | None = None
    source_points: Tensor | None = None
    target_points: Tensor | None = None
    face: Tensor | None = None
    lip: Tensor | None = None
    shown: Tensor | None = None


class FrameRenderer:
    """Renders output frames of one dub; holds what all of them share: crop boxes and encoded lip references.

    Args:
        info:       source video.
        source:     its geometry, T_s frames.
        target:     geometry to render, T frames; ``source_frame`` says which source frame each is shown over.
        references: Algorithm 1's choice.
        whole_face: show the whole drawn face instead of the lower face only.
        step:       called now and then during long work; it may raise to cancel.
    """

    def __init__(
        self,
        info: VideoInfo,
        source: FaceGeometry,
        target: FaceGeometry,
        references: ReferenceSelection,
        models: Models,
        options: DubOptions,
        whole_face: bool = False,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._whole_face = whole_face
        self._source, self._target, self._references, self._face_model = (
            source,
            target,
            references,
            models.face_model,
        )
        self._exclude_window, self._step = options.exclude_window, step
        self._boxes = crop_boxes(source, models.face_model)
        self._size = crop_size(self._boxes, source)
        self.memory = RenderingMemory(models, batch_size(self._size, models.device))
        self._batch = self.memory.frames
        self._reader = VideoReader(info)
        order = sorted(set(references.lip.tolist()))
        frames = {}
        for i, frame in zip(order, self._reader.frames(order), strict=True):
            frames[i] = frame
            step()
        lip = self._encode(frames, references.lip.tolist())
        self._covered = OcclusionDetector(models.face_model, lip.pixels, lip.points)
        for i, points in zip(references.lip.tolist(), lip.points.float().cpu(), strict=True):
            self._covered.look_at(i, crop_image(frames[i], self._boxes.box[i], self._size), points)
        self._lip = self._uncovered(lip, references.lip.tolist())

    def frames(self, runs: Iterable[range]) -> Iterator[RenderedFrame]:
        """The frames of runs of consecutive output frames, in order. Each run gives what it would give
        alone."""
        runs = [run for run in runs if len(run)]
        shown, face = self._target.source_frame, self._references.face

        encoded: dict[int, EncodedReferences] = {}

        def needs() -> Iterator[list[int]]:  # goes on batch by batch, as frames are asked for below
            for run in runs:
                for batch in self._batches(run):
                    known = (
                        encoded if self._exclude_window else ()
                    )  # without one, references are shown soon, too
                    yield [
                        *shown[batch].tolist(),
                        *(i for i in face[batch].flatten().tolist() if i not in known),
                    ]

        window = FrameWindow(self._reader, needs())
        for run in runs:
            encoded.clear()  # nothing is carried from run to run
            for batch in self._batches(run):
                frames = window.advance()
                self._step()
                usable = self._target.usable[batch] & self._source.usable[shown[batch]]
                rows = batch[usable].tolist()
                rendered = self._render(rows, frames, encoded) if rows else {}
                for t in batch.tolist():
                    frame, box = frames[int(shown[t])], self._boxes.box[shown[t]]
                    yield (
                        RenderedFrame(t, frame, box, *rendered[t])
                        if t in rendered
                        else RenderedFrame(t, frame, box)
                    )

    def _batches(self, run: range) -> Sequence[Tensor]:
        return torch.arange(run.start, run.stop).split(self._batch)

    def _render(
        self, rows: list[int], frames: dict[int, np.ndarray], encoded: dict[int, EncodedReferences]
    ) -> dict[int, tuple]:
        wanted = self._references.face[rows].unique().tolist()
        for i in wanted:  # the ones used last come last
            if i in encoded:
                encoded[i] = encoded.pop(i)
        others = [i for i in encoded if i not in wanted]
        kept = MOST_ENCODED * 512**2 // max(512, self._size) ** 2 if self._exclude_window else 0
        for i in others[: max(0, len(others) - kept)]:
            del encoded[i]
        fresh = [i for i in wanted if i not in encoded]
        shown = self._target.source_frame[rows].tolist()
        self._covered.forget_all_but({*encoded, *fresh, *shown})
        self._look_at(frames, {*fresh, *shown})
        if fresh:
            new = self._uncovered(self._encode(frames, fresh), fresh)
            encoded |= {i: new[k] for k, i in enumerate(fresh)}
            self._step()
        parts = self.memory.in_windows(rows, lambda part: self._render_window(part, encoded))
        return {t: item for part in parts for t, item in part.items()}

    def _render_window(self, rows: Sequence[int], encoded: dict[int, EncodedReferences]) -> dict[int, tuple]:
        self._step()
        device, index = self.memory.device, torch.tensor(list(rows))
        shown, face = self._target.source_frame[index], self._references.face[index]
        part, box = self._target[index], CropBoxes(self._boxes.box[shown])
        points = crop_points(posed_vertices(part, self._face_model), box, self._size)
        own = crop_points(posed_vertices(self._source[shown], self._face_model), box, self._size)
        wanted, place = face.unique(return_inverse=True)
        soft = None
        if not self._whole_face:
            pairs = zip(own, points, strict=True)
            soft = torch.stack(
                [lower_face_mask(before, after, self._face_model, self._size) for before, after in pairs]
            )  # (B, R, R)
            near = [
                [j for j in (i - 1, i + 1) if j in around]
                for i, around in zip(shown.tolist(), face.tolist(), strict=True)
            ]
            before = zip(shown.tolist(), near, own, strict=True)
            soft = soft * (
                1
                - torch.stack(
                    [self._covered.mask(i, around, places, self._size) for i, around, places in before]
                )
            )
        targets = Targets(
            points.to(device),
            part.expression.to(device),
            face_index=place.to(device),
            lip_allowed=allowed_references(self._references.lip, shown, self._exclude_window).to(device),
            wanted=None if soft is None else near_mask(soft).to(device),
        )
        crops = render(
            self.memory.renderer,
            targets,
            self._lip.to(device),
            EncodedReferences.join([encoded[i].to(device) for i in wanted.tolist()]),
            self.memory.face_model,
        )
        rgb, drawn, lip = (x.float().cpu() for x in (crops.rgb, crops.face[:, 0], crops.lip[:, 0]))
        shown = drawn if soft is None else soft
        return {t: (rgb[k], own[k], points[k], drawn[k], lip[k], shown[k]) for k, t in enumerate(rows)}

    def _look_at(self, frames: dict[int, np.ndarray], numbers: Iterable[int]) -> None:
        for i in sorted(numbers):
            if not self._covered.knows(i):
                posed = posed_vertices(self._source[[i]], self._face_model)
                points = crop_points(posed, CropBoxes(self._boxes.box[[i]]), self._size)[0]  # (V, 3)
                self._covered.look_at(i, crop_image(frames[i], self._boxes.box[i], self._size), points)

    def _uncovered(self, encoded: EncodedReferences, index: Sequence[int]) -> EncodedReferences:
        """The same references without what lies before the face in them."""
        seen = torch.stack([self._covered.seen(i) for i in index]).to(encoded.visibility)
        with torch.inference_mode():
            return replace(encoded, visibility=encoded.visibility * seen)

    def _encode(self, frames: dict[int, np.ndarray], index: Sequence[int]) -> EncodedReferences:
        def encode(rows: Sequence[int]) -> EncodedReferences:
            self._step()
            chosen, device = torch.tensor(list(rows)), self.memory.device
            crops = np.stack(
                [crop_image(frames[i], self._boxes.box[i], self._size, LANCZOS) for i in rows]
            )  # (N, R, R, 3)
            part = self._source[chosen]
            points = crop_points(
                posed_vertices(part, self._face_model), CropBoxes(self._boxes.box[chosen]), self._size
            )
            pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
            places, expression = points.to(device), part.expression.to(device)
            return encode_references(
                self.memory.renderer, pixels.to(device), places, expression, self.memory.face_model
            )

        parts = self.memory.in_windows(index, encode)
        with torch.inference_mode():
            return EncodedReferences.join([part.to(self.memory.device) for part in parts])


def render_to_file(
    info: VideoInfo,
    source: FaceGeometry,
    target: FaceGeometry,
    references: ReferenceSelection,
    audio: AudioClip | AudioStream | None,
    out: Path,
    models: Models,
    options: DubOptions,
    cache: Cache,
    *,
    mask_out: Path | None = None,
    whole_face: bool = False,
    observe: Callable[[RenderedFrame], None] | None = None,
    on_frame: Callable[[np.ndarray], None] | None = None,
    on_progress: OnProgress | None = None,
) -> DubReport:
    """Render, paste back and write a video; the file appears when it is complete.

    Args:
        cache:      keeps finished segments; those it holds already are not rendered again.
        whole_face: paste the whole drawn face instead of the lower face only.
        observe:    called with every rendered frame before it is pasted, for measurements.
        on_frame:   called with every finished frame (H, W, 3) uint8, for previews; it must not keep or change
            it.
    Returns:
        What happened to each frame.
    """
    timeline = Timeline(
        target.source_frame.numpy(), target.times.double().numpy(), target.durations.double().numpy()
    )
    turned = turned_weight(source.rotation[target.source_frame])
    weight = passthrough_weight(target.status.numpy(), timeline.times, target.shot.numpy()) * (
        1 if whole_face else turned
    )
    report = DubReport(
        frames=target.frame_count,
        lip_references=references.lip.tolist(),
        settings={f.name: getattr(options, f.name) for f in fields(options)},
    )
    coding = {"lossless": options.lossless, "like": info}
    video = SegmentedVideo(
        cache,
        "video",
        picture_coding(format_of(out), info.width, info.height, timeline, **coding),
        out,
        SEGMENT,
    )
    videos = [(video, Path(out), audio, provenance_metadata() if options.provenance else {})]
    if mask_out:
        grey = picture_coding(
            format_of(mask_out), info.width, info.height, timeline, lossless=options.lossless
        )
        videos.append((SegmentedVideo(cache, "mask", grey, mask_out, SEGMENT), Path(mask_out), None, {}))
    missing = [k for k in range(video.count) if not all(kept.finished(k) for kept, *_ in videos)]
    done = sum(len(video.frames(k)) for k in range(video.count)) - sum(len(video.frames(k)) for k in missing)
    report.resumed = done

    def step(frames: int = 0) -> None:
        nonlocal done
        done += frames
        if on_progress:
            on_progress(done, target.frame_count)

    if missing:
        renderer = FrameRenderer(info, source, target, references, models, options, whole_face, step)
        rendered = renderer.frames(video.frames(k) for k in missing)
        for number in missing:
            with ExitStack() as stack:
                writers = [stack.enter_context(kept.writer(number)) for kept, *_ in videos]
                for _ in video.frames(number):
                    item = next(rendered)
                    if observe and item.crop is not None:
                        observe(item)
                    frame, mask = pasted(item, float(weight[item.index]))
                    for writer, picture in zip(writers, (frame, mask), strict=False):
                        writer.write(picture if picture is frame else grey_frame(mask))
                    if on_frame:
                        on_frame(frame)
                    step(1)
        report.warnings.extend(renderer.memory.warnings)
        del renderer, rendered
    for kept, path, sound, metadata in videos:
        kept.join(sound, metadata, cache.path(f"joined{path.suffix}"), lambda *_: step())
    names = [FrameStatus(int(s)).name.lower() for s in target.status]
    report.warnings.extend(info.remarks)
    fading = int(((turned < 1) & target.usable.numpy()).sum())
    if fading and not whole_face:
        degrees = f"{TURNED_DEGREES[0]:.0f} degrees"
        report.warnings.append(
            f"In {fading} frames the head is turned by more than {degrees}; they fade to the source."
        )
    report.status = names
    report.dubbed = names.count("ok")
    report.passed_through = {name: names.count(name) for name in sorted(set(names) - {"ok"})}
    return report


def pasted(item: RenderedFrame, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """A rendered frame laid into its source frame: (H, W, 3) uint8, and (H, W) float32 how much of each pixel
    was replaced."""
    if item.crop is None:
        return item.frame, np.zeros(item.frame.shape[:2], np.float32)
    return paste_back(item.frame, item.crop, item.shown, item.box, weight=weight, seed=item.index)


def near_mask(soft: Tensor) -> Tensor:
    """(B, R, R) bool: pixels under soft masks (B, R, R) and so near to them that pasting looks at them."""
    reach = 2 * (soft.shape[-1] // 40) + 1
    box = np.ones((reach, reach), np.uint8)
    return (
        torch.from_numpy(np.stack([cv2.dilate(mask.view(np.uint8), box) for mask in (soft > 0).numpy()])) > 0
    )


def batch_size(crop: int, device: torch.device) -> int:
    """Output frames rendered together: BATCH on a GPU, on a CPU as many as have the pixels of BATCH crops of
    256."""
    return BATCH if device.type != "cpu" else max(1, BATCH * CROP_SIZES[0] ** 2 // crop**2)


def grey_frame(mask: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] to a grey (H, W, 3) uint8 frame; any weight above 0 shows as at least 1."""
    grey = np.where(mask > 0, np.maximum(np.round(mask * 255), 1), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def crop_size(boxes: CropBoxes, source: FaceGeometry) -> int:
    """Pixels of the crop's side: the smallest of CROP_SIZES not below the median side of the usable
    frames."""
    side = float(boxes.box[source.usable, 2].median())
    return next((size for size in CROP_SIZES if size >= side), CROP_SIZES[-1])
