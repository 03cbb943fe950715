"""One clip rendered from its own geometry, many times over: frames are read once and references encoded once
for all rows of a table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ...compose.crop import LANCZOS, crop_boxes, crop_image, crop_points
from ...dubbing.frame_renderer import crop_size
from ...geometry.face_model import FaceModel
from ...geometry.vertices import canonical_vertices, mouth_opening, posed_vertices
from ...media.video_reader import VideoReader
from ...rendering.batch import EncodedReferences
from ...rendering.references import (
    ReferenceOptions,
    allowed_references,
    nearest_frames,
    select_references,
    usable_frames,
)
from ...rendering.renderer import DualAttentionRenderer, Targets, encode_references, render
from ...types import FaceGeometry, ReferenceSelection

MOST_ENCODED = 160  # references kept encoded: about 5 MB each at 512 pixels


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One frame: image and truth (3, R, R) in [0, 1], points (V, 3) in crop pixels, opening () of the
    canonical mouth."""

    frame: int
    image: Tensor
    truth: Tensor
    points: Tensor
    opening: Tensor


class ReconstructedClip:
    """A clip's crops, read when first asked for, and its encoded references.

    Args:
        path, geometry: the video and its own fitted geometry.
        size:           pixels a side of the crops; None: the source's own resolution, as a dub has it.
    """

    def __init__(
        self, path: Path, geometry: FaceGeometry, face_model: FaceModel, size: int | None = None
    ) -> None:
        self.path, self.geometry, self.face_model = Path(path), geometry, face_model
        self._boxes = crop_boxes(geometry, face_model)
        self.size = size or crop_size(self._boxes, geometry)
        self.points = crop_points(posed_vertices(geometry, face_model), self._boxes, self.size)
        self.opening = mouth_opening(canonical_vertices(geometry, face_model), face_model)
        self._crops: dict[int, Tensor] = {}
        self._encoded: OrderedDict[int, EncodedReferences] = OrderedDict()

    def targets(self, every: int = 1, limit: int | None = None) -> list[int]:
        """Usable frames to render: every k-th, each with its successor so that flicker can be seen; at most
        ``limit``, spread evenly."""
        usable = self.geometry.usable.nonzero()[:, 0].tolist()
        if every == 1 and (limit is None or len(usable) <= limit):
            return usable
        starts = usable[::every]
        if limit is not None and 2 * len(starts) > limit:
            starts = [starts[int(k)] for k in torch.linspace(0, len(starts) - 1, max(1, limit // 2)).round()]
        pairs = {i for start in starts for i in (start, start + 1)}
        return [i for i in usable if i in pairs]

    def references(
        self, targets: Sequence[int], options: ReferenceOptions, random: int | None = None
    ) -> ReferenceSelection:
        """Algorithm 1's choice for some frames, or with a seed as many at random that keep the same
        distance."""
        if random is None:
            return select_references(self.geometry, self.face_model, targets, options)
        usable, generator = usable_frames(self.geometry), torch.Generator().manual_seed(random)
        lip = usable[torch.randperm(len(usable), generator=generator)[: options.lip_count]].sort().values
        rows = []
        for i in targets:
            far = usable[(usable - i).abs() >= options.exclude_window]
            far = far if len(far) else usable
            rows.append(far[torch.randint(len(far), (options.face_count,), generator=generator)])
        return ReferenceSelection(lip, torch.stack(rows))

    def around(self, targets: Sequence[int], options: ReferenceOptions) -> tuple[ReferenceSelection, Tensor]:
        """Lip references around each frame, as near as the exclude window lets them be, in the place of
        Algorithm 1's of the whole clip.

        Returns:
            their union and the usual face references; and which frame may use which, (T, N) bool.
        """
        usable = usable_frames(self.geometry)
        near = [
            nearest_frames(i, usable, self.geometry.shot, options.lip_count, options.exclude_window)
            for i in targets
        ]
        lip = torch.cat(near).unique()
        face = select_references(self.geometry, self.face_model, targets, options).face
        return ReferenceSelection(lip, face), torch.stack([torch.isin(lip, own) for own in near])

    def render(
        self,
        renderer: DualAttentionRenderer,
        targets: Sequence[int],
        references: ReferenceSelection,
        exclude_window: int,
        allowed: Tensor | None = None,
    ) -> Iterator[Reconstruction]:
        """Render frames in order; the renderers of one clip must encode alike (the same weights).

        allowed: (T, N_l) bool, which lip references each frame may use; None: all that the exclude window
            leaves.
        """
        self._read({*targets, *references.lip.tolist(), *references.face.flatten().tolist()})
        if allowed is None:
            allowed = allowed_references(references.lip, torch.tensor(list(targets)), exclude_window)
        with torch.inference_mode():
            lip = self._encode(renderer, references.lip.tolist())
            for k, i in enumerate(targets):
                face = self._encode(renderer, references.face[k].tolist())
                points, expression = self.points[i][None], self.geometry.expression[i][None]
                target = Targets(points, expression, lip_allowed=allowed[k : k + 1])
                crops = render(renderer, target, lip, face, self.face_model)
                yield Reconstruction(i, crops.rgb[0], self.truth(i), self.points[i], self.opening[i])

    def truth(self, frame: int) -> Tensor:
        """The source's crop, (3, R, R) in [0, 1]."""
        return self._crops[frame].float() / 255

    def _read(self, frames: set[int]) -> None:
        missing = sorted(frames - set(self._crops))
        for i, picture in zip(missing, VideoReader(self.path).frames(missing), strict=True):
            crop = crop_image(picture, self._boxes.box[i], self.size, LANCZOS)
            self._crops[i] = rearrange(torch.from_numpy(crop), "h w c -> c h w").contiguous()

    def _encode(self, renderer: DualAttentionRenderer, frames: Sequence[int]) -> EncodedReferences:
        for i in frames:
            if i not in self._encoded:
                expression = self.geometry.expression[i][None]
                one = encode_references(
                    renderer, self.truth(i)[None], self.points[i][None], expression, self.face_model
                )
                self._encoded[i] = one
            self._encoded.move_to_end(i)
        joined = EncodedReferences.join([self._encoded[i] for i in frames])
        while len(self._encoded) > MOST_ENCODED:
            self._encoded.popitem(last=False)
        return joined
