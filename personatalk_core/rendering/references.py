"""Which frames of the source are references: Algorithm 1 of the paper, its exclude window, and training's
random choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..config import DubOptions
from ..errors import FaceError, OptionsError
from ..geometry.camera import rotation_matrix
from ..geometry.face_model import FaceModel
from ..geometry.vertices import canonical_vertices, mouth_opening
from ..types import FaceGeometry, ReferenceSelection
from .similarity import FACE_SHARPNESS, mouth_shape

BLOCK = 500  # frames whose vertices are in memory at once
SEARCH_WINDOW = 250  # frames beyond the exclude window that are searched for alike face references


@dataclass(frozen=True)
class ReferenceOptions:
    """lip_count N_l; face_count N_f; exclude_window K: |i - j| >= K; exclude: frames never used; pin: lip
    references always used."""

    lip_count: int = 50
    face_count: int = 5
    exclude_window: int = 0
    exclude: tuple[int, ...] = ()
    pin: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: DubOptions) -> ReferenceOptions:
        """What a dub's options say of references."""
        return cls(options.lip_references, options.face_references, options.exclude_window)

    def verify(self) -> ReferenceOptions:
        """Return self, or raise OptionsError with one sentence about the first contradiction."""
        if self.lip_count < 1 or self.face_count < 1:
            raise OptionsError(
                f"reference counts are {self.lip_count} lip and {self.face_count} face but each must be at "
                "least 1."
            )
        if self.exclude_window < 0:
            raise OptionsError(f"exclude window is {self.exclude_window} frames but expected 0 or more.")
        both = sorted(set(self.exclude) & set(self.pin))
        if both:
            raise OptionsError(
                f"frame {both[0]} is both pinned and excluded as a reference; drop it from one of the two "
                "lists."
            )
        return self


def select_references(
    geometry: FaceGeometry,
    face_model: FaceModel,
    source_frames: Tensor | Sequence[int],
    options: ReferenceOptions | None = None,
) -> ReferenceSelection:
    """Choose the references of a whole clip.

    Paper: 3.2, Algorithm 1.
    Args:
        geometry:      of the source video, T_s frames.
        face_model:    gives the mouth opening of the canonical geometry.
        source_frames: (T,) for each output frame the source frame shown; its neighbours become face
            references.
        options:       counts, windows and lists.
    Returns:
        ReferenceSelection; ``lip`` is sorted by mouth opening and shorter than N_l when the clip has fewer
        usable frames; ``face`` repeats frames when fewer than N_f qualify, the nearest first.
    Raises:
        FaceError: the clip has no usable frame.  OptionsError: the options contradict each other or leave no
            frame.
    """
    options = (options or ReferenceOptions()).verify()
    usable = usable_frames(geometry, options.exclude)
    opening = openings(geometry, face_model)  # (T_s,)
    lip = spread_by_opening(opening, usable, options.lip_count, options.pin)
    shown = torch.as_tensor(source_frames, dtype=torch.int64)
    frames, place = torch.unique(shown, return_inverse=True)
    if options.exclude_window == 0:
        rows = surrounding_frames(frames, usable, geometry.shot, options.face_count)
    else:
        descriptors = frame_descriptors(geometry, face_model)
        found = [
            most_similar_frames(
                int(i), usable, geometry.shot, descriptors, options.face_count, options.exclude_window
            )
            for i in frames
        ]
        rows = torch.stack(found)
    return ReferenceSelection(lip=lip, face=rows[place])


def openings(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """(T,) mouth opening of the canonical geometry, BLOCK frames at a time."""
    blocks = (geometry[at : at + BLOCK] for at in range(0, geometry.frame_count, BLOCK))
    return torch.cat([mouth_opening(canonical_vertices(block, face_model), face_model) for block in blocks])


def usable_frames(geometry: FaceGeometry, exclude: Sequence[int] = ()) -> Tensor:
    """Frames that may be references, (M,) int64 ascending. Raises FaceError when none is left."""
    allowed = geometry.usable.clone()
    allowed[[i for i in exclude if 0 <= i < len(allowed)]] = False
    usable = allowed.nonzero()[:, 0]
    if len(usable) == 0:
        raise FaceError(
            "no frame of the video can serve as a reference; use a clip that shows the face, or exclude "
            "fewer frames."
        )
    return usable


def spread_by_opening(opening: Tensor, usable: Tensor, count: int, pin: Sequence[int] = ()) -> Tensor:
    """Evenly spread frames of the list sorted by mouth opening, pinned ones first of all.

    Args:
        opening: (T,) canonical mouth opening.  usable: (M,) frame numbers.  count: N_l.  pin: frames always
            taken.
    Returns:
        (min(count, M),) int64 sorted by opening (ties: earlier frame first), pinned frames included.
    """
    order = usable[torch.sort(opening[usable], stable=True).indices]
    pinned = [i for i in pin if i in set(usable.tolist())][:count]
    free = order[~torch.isin(order, torch.tensor(pinned, dtype=torch.int64))]
    take = min(count - len(pinned), len(free))
    picked = (
        free[torch.linspace(0, len(free) - 1, take).round().long()]
        if take > 1
        else free[len(free) // 2 : len(free) // 2 + take]
    )
    chosen = torch.cat([torch.tensor(pinned, dtype=torch.int64), picked])
    return chosen[torch.sort(opening[chosen], stable=True).indices]


def nearest_frames(frame: int, usable: Tensor, shot: Tensor, count: int, exclude_window: int) -> Tensor:
    """The i-centred face references of one frame: (count,) int64, nearest first, of the same shot where it
    has any.

    Raises OptionsError when the exclude window leaves no frame.
    """
    distance = (usable - frame).abs()
    far = distance >= exclude_window
    if not bool(far.any()):
        raise OptionsError(
            f"no usable frame is {exclude_window} or more frames away from frame {frame}; use a smaller "
            "exclude window or a longer clip."
        )
    same = far & (shot[usable] == shot[min(max(frame, 0), len(shot) - 1)])
    keep = same if bool(same.any()) else far
    candidates, distance = usable[keep], distance[keep]
    order = candidates[torch.sort(distance, stable=True).indices]
    return order[torch.arange(count) % len(order)]


def surrounding_frames(frames: Tensor, usable: Tensor, shot: Tensor, count: int) -> Tensor:
    """The fast twin of :func:`nearest_frames` without an exclude window, for many frames at once.

    Args:
        frames: (M,) frame numbers.  usable: (U,) ascending.  shot: (T,).  count: N_f.
    Returns:
        (M, count) int64, nearest first, the earlier one first at equal distance.
    """
    own = shot[usable]
    # of the frame's shot
    begin, end = (
        torch.searchsorted(own, shot[frames]),
        torch.searchsorted(own, shot[frames], right=True),
    )
    none = begin == end
    begin, end = torch.where(none, 0, begin), torch.where(none, len(usable), end)
    rows = []
    for part in torch.arange(len(frames)).split(BLOCK):
        middle = torch.searchsorted(usable, frames[part])
        place = middle[:, None] + torch.arange(
            -count, count + 1
        )  # (m, 2 count + 1): the nearest are among these
        inside = (place >= begin[part, None]) & (place < end[part, None])
        near = usable[place.clamp(0, len(usable) - 1)]
        distance = torch.where(inside, (near - frames[part, None]).abs(), torch.iinfo(torch.int64).max)
        order = near.gather(1, distance.sort(dim=1, stable=True).indices)
        rows.append(order.gather(1, torch.arange(count) % inside.sum(dim=1, keepdim=True)))
    return torch.cat(rows)


def frame_descriptors(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """What face references are compared by: (T, D), head orientation and mouth shape, weighted as in the
    attention's logits."""
    by_shape, by_pose = FACE_SHARPNESS
    pose = rearrange(rotation_matrix(geometry.rotation), "t i j -> t (i j)")
    return torch.cat(
        [by_pose**0.5 * pose, by_shape**0.5 * mouth_shape(geometry.expression, face_model)], dim=1
    )


def most_similar_frames(
    frame: int, usable: Tensor, shot: Tensor, descriptors: Tensor, count: int, exclude_window: int
) -> Tensor:
    """Face references when the nearest frames are forbidden: those most similar in pose and mouth shape, the
    most similar first.

    Deviation from Algorithm 1, which has no exclude window: with one, the i-centred frames are no longer
    alike.
    Args:
        descriptors: (T, D) of :func:`frame_descriptors`.
    Returns:
        (count,) int64, of frames ``exclude_window`` to ``exclude_window + SEARCH_WINDOW`` away.
    Raises:
        OptionsError: the exclude window leaves no frame.
    """
    candidates = nearest_frames(frame, usable, shot, len(usable), exclude_window).unique()
    distance = (candidates - frame).abs()
    near = candidates[distance < exclude_window + SEARCH_WINDOW]
    candidates = near if len(near) >= count else candidates
    order = candidates[
        (descriptors[candidates] - descriptors[frame]).square().sum(dim=1).sort(stable=True).indices
    ]
    return order[torch.arange(count) % len(order)]


def allowed_references(lip: Tensor, source_frames: Tensor, exclude_window: int) -> Tensor:
    """Which lip references each output frame may use: (T, N_l) bool, |i - j| >= exclude_window.

    A frame that would be left with none may use the one farthest away.
    """
    distance = (source_frames[:, None] - lip[None]).abs()  # (T, N_l)
    allowed = distance >= exclude_window
    farthest = torch.nn.functional.one_hot(distance.argmax(dim=1), len(lip)).bool()
    return torch.where(allowed.any(dim=1, keepdim=True), allowed, farthest)


def sample_references(
    frame: int,
    frame_count: int,
    options: ReferenceOptions,
    window: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Training references of one frame: lip (N_l,) at random from the whole clip, face (N_f,) from an
    i-centred window.

    Paper: 3.2. Deviation: frames nearer than ``exclude_window`` are left out, because a network that sees the
    frame itself learns to copy it.
    Args:
        frame: i.  frame_count: T.  window: frames on either side that face references come from, beyond the
            exclude window.
    Raises:
        OptionsError: the clip is too short for the exclude window.
    """
    frames = torch.arange(frame_count)
    distance = (frames - frame).abs()
    far = frames[distance >= options.exclude_window]
    if len(far) == 0:
        raise OptionsError(
            f"a clip of {frame_count} frames has none {options.exclude_window} or more away from frame "
            f"{frame}; use a smaller window."
        )
    near = frames[(distance >= options.exclude_window) & (distance < options.exclude_window + window)]
    near = near if len(near) else far
    face = near[torch.randint(len(near), (options.face_count,), generator=generator)]
    lip = far[torch.randint(len(far), (options.lip_count,), generator=generator)]
    return lip, face
