"""Clips prepared for training the renderer: crops, geometry and what was drawn of it, one safetensors file a
clip.

Frames are read from the file as they are needed, so that a corpus larger than memory can be trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from ...compose.crop import LANCZOS, crop_boxes, crop_image, crop_points
from ...config import CROP_SIZE
from ...geometry.face_model import FaceModel
from ...geometry.vertices import posed_vertices
from ...rendering.fast.surface import draw_surface, geometry_map
from ...rendering.references import ReferenceOptions, sample_references
from ...rendering.regions import vertex_visibility
from ...rendering.similarity import mouth_shape
from ...types import FaceGeometry
from ...weights.checkpoint import load_checkpoint, save_checkpoint

KIND = "renderer_clip"
DRAWN_SIZE = CROP_SIZE // 2  # drawn geometry is kept at half size
LEAST_FRAMES = 40
LIP_CANDIDATES = 4  # times N_l


@dataclass(frozen=True, eq=False)
class PreparedFrames:
    """N frames. crops (N, 3, 256, 256) float32 in [0, 1]; points (N, V, 3) crop pixels; expression (N, E);
    geometry (N, 4, 256, 256): geometry_map; visibility (N, V)."""

    crops: Tensor
    points: Tensor
    expression: Tensor
    geometry: Tensor
    visibility: Tensor

    def to(self, device: torch.device) -> PreparedFrames:
        """The same frames on a device."""
        return PreparedFrames(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class PreparedClip:
    """One prepared file. frame: source frame numbers (T,), ascending."""

    path: Path
    speaker: str
    frame: tuple[int, ...]

    @property
    def frame_count(self) -> int:
        return len(self.frame)

    def read_expression(self) -> Tensor:
        """(T, E) of all frames."""
        with safe_open(str(self.path), framework="pt") as stream:
            return stream.get_tensor("expression")

    def read(self, index: Tensor) -> PreparedFrames:
        """The chosen frames, in the given order."""
        rows, place = torch.unique(index, return_inverse=True)
        with safe_open(str(self.path), framework="pt") as stream:

            def take(name: str) -> Tensor:
                stored = stream.get_slice(name)
                return torch.cat([stored[int(i) : int(i) + 1] for i in rows])[place]

            drawn = take("drawn").float() / 255
            return PreparedFrames(
                crops=take("crops").float() / 255,
                points=take("points"),
                expression=take("expression"),
                visibility=take("seen").float(),
                geometry=F.interpolate(drawn, scale_factor=2, mode="bilinear", align_corners=False),
            )


def choose_frames(geometry: FaceGeometry, limit: int, stride: int) -> Tensor:
    """Usable frames of the clip's longest shot, every ``stride``-th, at most ``limit``: (T,) int64."""
    usable = geometry.usable.nonzero()[:, 0]
    shots = geometry.shot[usable]
    longest = shots.mode().values if len(usable) else 0
    return usable[shots == longest][::stride][:limit]


def prepare_clip(
    read: Callable[[list[int]], Iterable[np.ndarray]],
    geometry: FaceGeometry,
    face_model: FaceModel,
    target: Path,
    *,
    speaker: str,
    limit: int = 90,
    stride: int = 3,
) -> PreparedClip | None:
    """Cut, draw and store one clip.

    Args:
        read:     gives the frames of ascending numbers, (H, W, 3) uint8 each, such as ``VideoReader.frames``.
        geometry: of the same frames.
        target:   file to write.
        limit:    most frames kept; stride: every how many.
    Returns:
        The clip, or None when too few frames are usable.
    """
    chosen = choose_frames(geometry, limit, stride)
    if len(chosen) < LEAST_FRAMES:
        return None
    boxes = crop_boxes(geometry, face_model)
    points = crop_points(posed_vertices(geometry, face_model), boxes, CROP_SIZE)[chosen]
    numbers = chosen.tolist()
    crops = [
        torch.from_numpy(crop_image(f, boxes.box[i], CROP_SIZE, LANCZOS))
        for i, f in zip(numbers, read(numbers), strict=True)
    ]
    drawn, visibility = [], []
    for batch in points.split(8):
        surface = draw_surface(batch, face_model, CROP_SIZE)
        geometry_maps = geometry_map(surface, face_model)
        drawn.append((F.avg_pool2d(geometry_maps, CROP_SIZE // DRAWN_SIZE) * 255).round().byte())
        visibility.append(vertex_visibility(batch, surface.depth, face_model).half())
    tensors = {
        "crops": rearrange(torch.stack(crops), "t h w c -> t c h w"),
        "points": points,
        "expression": geometry.expression[chosen],
        "drawn": torch.cat(drawn),
        "seen": torch.cat(visibility),
        "frame": chosen,
    }
    save_checkpoint(target, tensors, kind=KIND, config={"speaker": speaker, "face_model": face_model.sha256})
    return PreparedClip(target, speaker, tuple(chosen.tolist()))


def load_clip(path: Path) -> PreparedClip:
    """Open a prepared clip. Raises WeightsError when it is not one."""
    checkpoint = load_checkpoint(path, kind=KIND)
    return PreparedClip(Path(path), checkpoint.config["speaker"], tuple(checkpoint.tensors["frame"].tolist()))


@dataclass(frozen=True, eq=False)
class RenderingExample:
    """Targets of one clip with shared lip references and face references of their own (``face_index`` (B,
    N_f))."""

    target: PreparedFrames
    lip: PreparedFrames
    face: PreparedFrames
    face_index: Tensor

    def to(self, device: torch.device) -> RenderingExample:
        """The same example on a device."""
        return RenderingExample(
            self.target.to(device), self.lip.to(device), self.face.to(device), self.face_index.to(device)
        )


class ExampleSampler:
    """Draws training examples: a speaker at random, a clip of theirs, one target, and references away from
    it.

    Paper: 3.2; speakers rather than clips are drawn evenly, so that no one is learned by heart. Deviation: of
    several times N_l lip references drawn at random the N_l most alike are kept, because in use the best of
    25 or more are at hand; with N_l random ones training learns to average them (measured: detail around the
    lips fell from 0.85 to 0.67 of the source's).
    """

    def __init__(
        self,
        clips: list[PreparedClip],
        face_model: FaceModel,
        options: ReferenceOptions,
        window: int,
        seed: int,
    ) -> None:
        self.face_model, self.options, self.window, self.seed = face_model, options, window, seed
        self.by_speaker: dict[str, list[PreparedClip]] = {}
        for clip in clips:
            self.by_speaker.setdefault(clip.speaker, []).append(clip)

    def example(self, step: int) -> RenderingExample:
        """The example of a step: the same step and seed give the same example."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        speaker = sorted(self.by_speaker)[int(torch.randint(len(self.by_speaker), (1,), generator=generator))]
        clips = self.by_speaker[speaker]
        clip = clips[int(torch.randint(len(clips), (1,), generator=generator))]
        place = int(torch.randint(clip.frame_count, (1,), generator=generator))
        frame = torch.tensor(clip.frame)
        stride = max(1, int(frame.diff().float().median())) if len(frame) > 1 else 1
        gap = ReferenceOptions(
            LIP_CANDIDATES * self.options.lip_count,
            self.options.face_count,
            -(-self.options.exclude_window // stride),
        )
        lip, face = sample_references(place, clip.frame_count, gap, max(1, self.window // stride), generator)
        shape = mouth_shape(clip.read_expression(), self.face_model)  # on the CPU, like what is read
        lip = lip[(shape[lip] - shape[place]).square().sum(dim=1).argsort()[: self.options.lip_count]]
        read = clip.read(torch.cat([torch.tensor([place]), lip, face]))

        def rows(start: int, count: int) -> PreparedFrames:
            return PreparedFrames(
                *(getattr(read, n)[start : start + count] for n in PreparedFrames.__dataclass_fields__)
            )

        face_index = torch.arange(self.options.face_count)[None]
        return RenderingExample(rows(0, 1), rows(1, len(lip)), rows(1 + len(lip), len(face)), face_index)
