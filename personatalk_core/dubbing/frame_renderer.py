"""F_tgt over a whole video: source frames in, rendered frames out as they are asked for, in bounded memory.

Frames are rendered in batches. A window of decoded source frames holds what the batch and its face references
need and forgets the rest; lip references are read and encoded once, before the first batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from ..compose.crop import LANCZOS, crop_boxes, crop_image, crop_points
from ..compose.masks import lower_face_mask
from ..compose.occlusion import OcclusionDetector
from ..geometry.vertices import posed_vertices
from ..media.video_reader import VideoReader
from ..rendering.batch import EncodedReferences, ReferenceFrames, Targets
from ..rendering.references import allowed_references
from ..rendering.renderer import encode_chunk, render_chunk
from ..rendering.similarity import describe
from ..types import CropBoxes, FaceGeometry, ReferenceSelection, VideoInfo
from .frame_window import FrameWindow
from .oom_fallback import BatchRunner
from .run import Run

# output frames of 256-pixel crops rendered together; on a CPU fewer where crops are larger, so that a batch
# stays short
BATCH = 8
# references of 512 pixels, 5 MB each, kept encoded where alike frames are chosen from all over the clip
MOST_ENCODED = 96
# a crop is worked on at the smallest not below its size in the source
CROP_SIZES = (256, 320, 384, 448, 512, 640, 768, 896, 1024)


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One output frame. crop (3, R, R) float32 in [0, 1] rendered, or None where the frame passes through.

    frame (H, W, 3) uint8: the source frame.  box (3,).  source_points, target_points (V, 3): crop pixels at
    R. face (R, R) and lip (R, R): the renderer's masks.  paste_mask (R, R): the soft mask through which the
    crop is pasted; outside it the crop need not be what the renderer would make of it.
    """

    index: int
    frame: np.ndarray
    box: Tensor
    crop: Tensor | None = None
    source_points: Tensor | None = None
    target_points: Tensor | None = None
    face: Tensor | None = None
    lip: Tensor | None = None
    paste_mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TargetBatch:
    """B output frames rendered together.

    rows, source_frame (B,) int64: output frames, and the source frames they are shown over.  face (B, N_f):
    their face references.  source_points (B, V, 3): vertices of the source in pixels of the source frames'
    crops.  targets: what is rendered there.
    """

    rows: Tensor
    source_frame: Tensor
    face: Tensor
    source_points: Tensor
    targets: Targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chunk: slice) -> TargetBatch:
        """Some of the batch."""
        return TargetBatch(*(getattr(self, f.name)[chunk] for f in fields(self)))


class FrameRenderer:
    """The frames of one dub, an iterable of :class:`RenderedFrame`; :meth:`frames` gives some of them.

    Args:
        clip:       the source video.
        target:     geometry to render, T frames; ``source_frame`` says which source frame each is shown over,
            and
            ``reference`` is the source's geometry (None: the target is the source's own).
        references: Algorithm 1's choice.
        run:        models, options, and progress, which may raise to cancel.
        whole_face: show the whole drawn face instead of the lower face only.
    """

    encode_chunk = staticmethod(encode_chunk)  # the renderer's two passes; a subclass may run others
    render_chunk = staticmethod(render_chunk)

    def __init__(
        self,
        clip: VideoInfo,
        target: FaceGeometry,
        references: ReferenceSelection,
        run: Run,
        *,
        whole_face: bool = False,
    ) -> None:
        self.clip, self.target, self.references, self.whole_face = clip, target, references, whole_face
        self.source = target.reference or target
        self.counter = run.progress.counter("rendering", target.frame_count)
        self._exclude_window = run.options.exclude_window
        self.face_model = run.models.face_model
        self._boxes = crop_boxes(self.source, self.face_model)
        self._size = crop_size(self._boxes, self.source)
        self._runner = BatchRunner(run.models, batch_size(self._size, run.models.device))
        self._batch = self._runner.frames
        self._reader = VideoReader(clip)
        self._lip: EncodedReferences | None = None

    @property
    def warnings(self) -> list[str]:
        """What went on otherwise than asked for, a sentence each."""
        return self._runner.warnings

    def __iter__(self) -> Iterator[RenderedFrame]:
        return self.frames([range(self.target.frame_count)])

    def frames(self, runs: Iterable[range]) -> Iterator[RenderedFrame]:
        """The frames of runs of consecutive output frames, in order. Each run gives what it would give
        alone."""
        runs = [run for run in runs if len(run)]
        if not runs:
            return
        if self._lip is None:
            self._lip = self._encode_lip_references()
        source_frame, face = self.target.source_frame, self.references.face
        encoded: dict[int, EncodedReferences] = {}

        def needs() -> Iterator[list[int]]:  # goes on batch by batch, as frames are asked for below
            for run in runs:
                for batch in self._batches(run):
                    # without an exclude window, references are shown soon, too
                    known = encoded if self._exclude_window else ()
                    fresh = (i for i in face[batch].flatten().tolist() if i not in known)
                    yield [*source_frame[batch].tolist(), *fresh]

        window = FrameWindow(self._reader, needs())
        for run in runs:
            encoded.clear()  # nothing is carried from run to run
            for batch in self._batches(run):
                frames = window.advance()
                self.counter.advance(0)
                usable = self.target.usable[batch] & self.source.usable[source_frame[batch]]
                rows = batch[usable]
                self._encode_face_references(rows.tolist(), frames, encoded)
                chunks = self._runner.run_with_oom_fallback(
                    lambda window, rows=rows: self._target_batch(rows[window]),
                    len(rows),
                    self._size,
                    partial(self._render_chunk, encoded=encoded),
                )
                rendered = {t: values for chunk in chunks for t, values in chunk.items()}
                for t in batch.tolist():
                    frame, box = frames[int(source_frame[t])], self._boxes.box[source_frame[t]]
                    yield RenderedFrame(t, frame, box, **rendered.get(t, {}))

    def _batches(self, run: range) -> Sequence[Tensor]:
        return torch.arange(run.start, run.stop).split(self._batch)

    def release(self) -> None:
        """Let encoded references go; they are made again when frames are asked for again."""
        self._lip = None

    # References

    def _encode_lip_references(self) -> EncodedReferences:
        """Lip references of the whole clip, read once, without what lies before the face in them."""
        lip = self.references.lip.tolist()
        order = sorted(set(lip))
        frames = {}
        for i, frame in zip(order, self._reader.frames(order), strict=True):
            frames[i] = frame
            self.counter.advance(0)
        encoded = self._encode(frames, lip)
        self._occlusion = OcclusionDetector(self.face_model, encoded.pixels, encoded.points)
        for i, points in zip(lip, encoded.points.float().cpu(), strict=True):
            self._occlusion.observe(i, crop_image(frames[i], self._boxes.box[i], self._size), points)
        return self._unoccluded(encoded, lip)

    def _encode_face_references(
        self, rows: list[int], frames: dict[int, np.ndarray], encoded: dict[int, EncodedReferences]
    ) -> None:
        """Bring ``encoded`` to what output frames ``rows`` need: fresh references in, those unused longest
        out."""
        if not rows:
            return
        needed = self.references.face[rows].unique().tolist()
        for i in needed:  # the ones used last come last
            if i in encoded:
                encoded[i] = encoded.pop(i)
        others = [i for i in encoded if i not in needed]
        keep = MOST_ENCODED * 512**2 // max(512, self._size) ** 2 if self._exclude_window else 0
        for i in others[: max(0, len(others) - keep)]:
            del encoded[i]
        fresh = [i for i in needed if i not in encoded]
        shown = self.target.source_frame[rows].tolist()
        self._occlusion.keep_only({*encoded, *fresh, *shown})
        self._look_at(frames, {*fresh, *shown})
        if fresh:
            new = self._unoccluded(self._encode(frames, fresh), fresh)
            encoded |= {i: new[k] for k, i in enumerate(fresh)}
            self.counter.advance(0)

    def _encode(self, frames: dict[int, np.ndarray], index: Sequence[int]) -> EncodedReferences:
        """E_ref and E_tex of source frames."""

        def reference_frames(window: slice) -> ReferenceFrames:
            self.counter.advance(0)
            rows, device = torch.tensor(index[window]), self._runner.device
            crops = [crop_image(frames[i], self._boxes.box[i], self._size, LANCZOS) for i in index[window]]
            pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255  # (N, 3, R, R)
            source = self.source[rows]
            points, expression = self._crop_points(source, rows), source.expression
            references = ReferenceFrames(pixels.to(device), points.to(device), expression.to(device))
            return describe(references, self._runner.face_model)

        def encode(chunk: ReferenceFrames) -> EncodedReferences:
            return self.encode_chunk(self._runner.renderer, chunk, self._runner.face_model)

        encoded = self._runner.run_with_oom_fallback(reference_frames, len(index), self._size, encode)
        with torch.inference_mode():
            return EncodedReferences.join([chunk.to(self._runner.device) for chunk in encoded])

    def _look_at(self, frames: dict[int, np.ndarray], numbers: Iterable[int]) -> None:
        for i in sorted(numbers):
            if not self._occlusion.observed(i):
                points = self._crop_points(self.source[[i]], torch.tensor([i]))[0]  # (V, 3)
                self._occlusion.observe(i, crop_image(frames[i], self._boxes.box[i], self._size), points)

    def _unoccluded(self, encoded: EncodedReferences, index: Sequence[int]) -> EncodedReferences:
        """The same references without what lies before the face in them."""
        seen = torch.stack([self._occlusion.visibility(i) for i in index]).to(encoded.visibility)
        with torch.inference_mode():
            return replace(encoded, visibility=encoded.visibility * seen)

    def _crop_points(self, geometry: FaceGeometry, source_frame: Tensor) -> Tensor:
        """(B, V, 3) vertices of some frames in pixels of the crops around source frames (B,)."""
        boxes = CropBoxes(self._boxes.box[source_frame])
        return crop_points(posed_vertices(geometry, self.face_model), boxes, self._size)

    # Targets

    def _target_batch(self, rows: Tensor) -> TargetBatch:
        """Output frames ``rows`` (B,): their geometry in pixels of the crops they are shown over."""
        self.counter.advance(0)  # here, in the caller's thread: chunks are rendered on all cores
        device, source_frame, target = self._runner.device, self.target.source_frame[rows], self.target[rows]
        points = self._crop_points(target, source_frame)
        targets = Targets(points.to(device), target.expression.to(device))
        return TargetBatch(
            rows,
            source_frame,
            self.references.face[rows],
            self._crop_points(self.source[source_frame], source_frame),
            describe(targets, self._runner.face_model),
        )

    def _render_chunk(
        self, batch: TargetBatch, encoded: dict[int, EncodedReferences]
    ) -> dict[int, dict[str, Tensor]]:
        """Frames of a batch in one pass of the renderer: fields of RenderedFrame by output frame."""
        assert self._lip is not None
        device, points = self._runner.device, batch.targets.points.cpu()
        paste_mask = None if self.whole_face else self._paste_mask(batch, points)
        used, face_index = batch.face.unique(return_inverse=True)
        allowed = allowed_references(self.references.lip, batch.source_frame, self._exclude_window)
        targets = replace(
            batch.targets,
            face_index=face_index.to(device),
            lip_allowed=allowed.to(device),
            wanted=None if paste_mask is None else near_mask(paste_mask).to(device),
        )
        face = EncodedReferences.join([encoded[i].to(device) for i in used.tolist()])
        crops = self.render_chunk(
            self._runner.renderer, targets, self._lip.to(device), face, self._runner.face_model
        )
        rgb, drawn, lip = (x.float().cpu() for x in (crops.rgb, crops.face[:, 0], crops.lip[:, 0]))
        frames = {
            "crop": rgb,
            "source_points": batch.source_points,
            "target_points": points,
            "face": drawn,
            "lip": lip,
            "paste_mask": drawn if paste_mask is None else paste_mask,
        }
        rows = batch.rows.tolist()
        return {t: {name: values[k] for name, values in frames.items()} for k, t in enumerate(rows)}

    def _paste_mask(self, batch: TargetBatch, points: Tensor) -> Tensor:
        """(B, R, R) in [0, 1]: the lower face of source and target, (B, V, 3) points, less what lies before
        it."""
        masks = []
        for k, (i, around) in enumerate(zip(batch.source_frame.tolist(), batch.face.tolist(), strict=True)):
            source_points = batch.source_points[k]
            lower = lower_face_mask(source_points, points[k], self.face_model, self._size)
            neighbours = [j for j in (i - 1, i + 1) if j in around]
            masks.append(lower * (1 - self._occlusion.mask(i, neighbours, source_points, self._size)))
        return torch.stack(masks)


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


def crop_size(boxes: CropBoxes, source: FaceGeometry) -> int:
    """Pixels of the crop's side: the smallest of CROP_SIZES not below the median side of the usable
    frames."""
    side = float(boxes.box[source.usable, 2].median())
    return next((size for size in CROP_SIZES if size >= side), CROP_SIZES[-1])
