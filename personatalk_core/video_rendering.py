"""Stage two over a whole video: source frames in, rendered and pasted frames out, in bounded memory.

Frames are rendered in batches. A window of decoded source frames holds what the batch and its face references
need and forgets the rest; lip references are read and encoded once, before the first batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .compose.masks import lower_face_mask, passthrough_weight
from .compose.paste_back import paste_back
from .config import DubOptions
from .geometry.vertices import posed_vertices
from .media.audio import fit_audio
from .media.provenance import provenance_metadata
from .media.video_reader import VideoReader
from .media.video_writer import VideoWriter
from .models import Models
from .rendering.encoded_references import EncodedReferences
from .rendering.references import allowed_references
from .tracking.crop import crop_boxes, crop_image, crop_points
from .types import AudioClip, CropBoxes, DubReport, FaceGeometry, FrameStatus, OnProgress, ReferenceSelection, Timeline, VideoInfo

BATCH = 8  # output frames rendered together
CROP_SIZES = (256, 320, 384, 448, 512)  # a crop is worked on at the smallest of these not below its size in the source


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One output frame. crop (3, R, R) float32 in [0, 1] rendered, or None where the frame passes through.

    frame (H, W, 3) uint8: the source frame.  box (3,).  source_points, target_points (V, 3): crop pixels at R.
    face (R, R) and lip (R, R): the renderer's masks.
    """

    index: int
    frame: np.ndarray
    box: Tensor
    crop: Tensor | None = None
    source_points: Tensor | None = None
    target_points: Tensor | None = None
    face: Tensor | None = None
    lip: Tensor | None = None


def frames_of(geometry: FaceGeometry, index: Tensor | Sequence[int]) -> FaceGeometry:
    """The chosen frames of a geometry, in the given order."""
    chosen = torch.as_tensor(index, dtype=torch.int64)
    names = ("expression", "rotation", "translation", "scale", "status", "shot", "source_frame", "times", "durations")
    return replace(geometry, reference=None, **{name: getattr(geometry, name)[chosen] for name in names})


class FrameWindow:
    """Source frames by number, read once in the order in which they are first needed.

    ``needs`` lists, batch by batch, the frames that must be at hand; a frame stays while the current or the next batch
    needs it, so memory holds two batches whatever the length of the clip.
    """

    def __init__(self, reader: VideoReader, needs: Sequence[Sequence[int]]) -> None:
        self._needs = [sorted(set(need)) for need in needs]
        self._missing: list[list[int]] = []
        held: set[int] = set()
        for number, need in enumerate(self._needs):
            fresh = [i for i in need if i not in held]
            if number and fresh and fresh[-1] < max(held, default=-1):
                fresh.reverse()  # the picture runs backwards: read it in that order
            self._missing.append(fresh)
            held = (held | set(need)) & set(self._needs[number + 1] if number + 1 < len(needs) else ())
        self._frames: dict[int, np.ndarray] = {}
        self._stream = reader.frames([i for fresh in self._missing for i in fresh])
        self._batch = -1

    def advance(self) -> dict[int, np.ndarray]:
        """The frames of the next batch by number, (H, W, 3) uint8 each."""
        self._batch += 1
        need = set(self._needs[self._batch])
        self._frames = {i: frame for i, frame in self._frames.items() if i in need}
        for i in self._missing[self._batch]:
            self._frames[i] = next(self._stream)
        return self._frames


def render_frames(
    info: VideoInfo,
    source: FaceGeometry,
    target: FaceGeometry,
    references: ReferenceSelection,
    models: Models,
    options: DubOptions,
    on_progress: OnProgress | None = None,
) -> Iterator[RenderedFrame]:
    """Render every output frame in order.

    Args:
        info:       source video.
        source:     its geometry, T_s frames.
        target:     geometry to render, T frames; ``source_frame`` says which source frame each is shown over.
        references: Algorithm 1's choice.
    Yields:
        T RenderedFrame.
    """
    face_model, renderer, device = models.face_model, models.renderer, models.device
    face_model_there = face_model.to(device)
    boxes = crop_boxes(source, face_model)
    size = crop_size(boxes, source)
    reader = VideoReader(info)
    order = sorted(set(references.lip.tolist()))
    lip = _encode(dict(zip(order, reader.frames(order), strict=True)), references.lip.tolist(), source, boxes, size, models)
    shown = target.source_frame
    allowed = allowed_references(references.lip, shown, options.exclude_window)
    usable = target.usable & source.usable[shown]
    batches = torch.arange(target.frame_count).split(BATCH)
    window = FrameWindow(reader, [torch.cat([shown[b], references.face[b].flatten()]).tolist() for b in batches])
    encoded: dict[int, EncodedReferences] = {}
    for batch in batches:
        frames = window.advance()
        rows = batch[usable[batch]]
        rendered = {}
        if len(rows):
            wanted = references.face[rows].unique().tolist()
            encoded = {i: e for i, e in encoded.items() if i in wanted}
            fresh = [i for i in wanted if i not in encoded]
            if fresh:
                new = _encode(frames, fresh, source, boxes, size, models)
                encoded |= {i: new[k] for k, i in enumerate(fresh)}
            place = {i: k for k, i in enumerate(wanted)}
            face_index = torch.tensor([[place[int(i)] for i in row] for row in references.face[rows]], device=device)
            part = frames_of(target, rows)
            box = CropBoxes(boxes.box[shown[rows]])
            points = crop_points(posed_vertices(part, face_model), box, size)
            own = crop_points(posed_vertices(frames_of(source, shown[rows]), face_model), box, size)
            with torch.inference_mode(), torch.autocast(device.type, models.dtype, enabled=models.dtype != torch.float32):
                crops = renderer.render(
                    points.to(device),
                    part.expression.to(device),
                    lip,
                    EncodedReferences.join([encoded[i] for i in wanted]),
                    face_model_there,
                    face_index=face_index,
                    lip_allowed=allowed[rows].to(device),
                )
            for k, t in enumerate(rows.tolist()):
                rendered[t] = (crops.rgb[k].float().cpu(), own[k], points[k], crops.face[k, 0].float().cpu(), crops.lip[k, 0].float().cpu())
        for t in batch.tolist():
            frame, box = frames[int(shown[t])], boxes.box[shown[t]]
            yield RenderedFrame(t, frame, box, *rendered[t]) if t in rendered else RenderedFrame(t, frame, box)
            if on_progress:
                on_progress(t + 1, target.frame_count)


def render_to_file(
    info: VideoInfo,
    source: FaceGeometry,
    target: FaceGeometry,
    references: ReferenceSelection,
    audio: AudioClip | None,
    out: Path,
    models: Models,
    options: DubOptions,
    *,
    mask_out: Path | None = None,
    whole_face: bool = False,
    observe: Callable[[RenderedFrame], None] | None = None,
    on_frame: Callable[[np.ndarray], None] | None = None,
    on_progress: OnProgress | None = None,
) -> DubReport:
    """Render, paste back and write a video; the file appears when it is complete.

    Args:
        whole_face: paste the whole drawn face instead of the lower face only.
        observe:    called with every rendered frame before it is pasted, for measurements.
        on_frame:   called with every finished frame (H, W, 3) uint8, for previews; it must not keep or change it.
    Returns:
        What happened to each frame.
    """
    timeline = Timeline(target.source_frame.numpy(), target.times.double().numpy(), target.durations.double().numpy())
    weight = passthrough_weight(target.status.numpy(), timeline.times, target.shot.numpy())
    if audio is not None:
        audio = fit_audio(audio, timeline.duration)
    report = DubReport(
        frames=target.frame_count,
        lip_references=references.lip.tolist(),
        settings={f.name: getattr(options, f.name) for f in fields(options)},
    )
    metadata = provenance_metadata() if options.provenance else {}
    with ExitStack() as stack:
        video = stack.enter_context(
            VideoWriter(out, info.width, info.height, timeline, audio=audio, lossless=options.lossless, metadata=metadata, like=info)
        )
        masks = (
            stack.enter_context(VideoWriter(mask_out, info.width, info.height, timeline, lossless=options.lossless)) if mask_out else None
        )
        for item in render_frames(info, source, target, references, models, options, on_progress):
            frame, mask = item.frame, np.zeros(item.frame.shape[:2], np.float32)
            if item.crop is not None:
                if observe:
                    observe(item)
                soft = (
                    item.face
                    if whole_face
                    else lower_face_mask(item.source_points, item.target_points, models.face_model, item.crop.shape[-1])
                )
                frame, mask = paste_back(item.frame, item.crop, soft, item.box, weight=float(weight[item.index]))
            video.write(frame)
            if on_frame:
                on_frame(frame)
            if masks:
                masks.write(grey_frame(mask))
    names = [FrameStatus(int(s)).name.lower() for s in target.status]
    report.warnings.extend(info.remarks)
    report.status = names
    report.dubbed = names.count("ok")
    report.passed_through = {name: names.count(name) for name in sorted(set(names) - {"ok"})}
    return report


def grey_frame(mask: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] to a grey (H, W, 3) uint8 frame; any weight above 0 shows as at least 1."""
    grey = np.where(mask > 0, np.maximum(np.round(mask * 255), 1), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def crop_size(boxes: CropBoxes, source: FaceGeometry) -> int:
    """Pixels of the crop's side: the smallest of CROP_SIZES not below the median side of the usable frames."""
    side = float(boxes.box[source.usable, 2].median())
    return next((size for size in CROP_SIZES if size >= side), CROP_SIZES[-1])


def _encode(
    frames: dict[int, np.ndarray], index: Sequence[int], source: FaceGeometry, boxes: CropBoxes, size: int, models: Models
) -> EncodedReferences:
    chosen = torch.tensor(list(index))
    crops = np.stack([crop_image(frames[i], boxes.box[i], size) for i in index])  # (N, R, R, 3)
    part = frames_of(source, chosen)
    points = crop_points(posed_vertices(part, models.face_model), CropBoxes(boxes.box[chosen]), size)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    device, face_model_there = models.device, models.face_model.to(models.device)
    with torch.inference_mode(), torch.autocast(device.type, models.dtype, enabled=models.dtype != torch.float32):
        return models.renderer.encode_references(pixels.to(device), points.to(device), part.expression.to(device), face_model_there)
