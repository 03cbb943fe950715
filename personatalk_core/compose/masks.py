"""Which pixels a dub may change: a soft mask over the lower face, and its strength over time.

Paper: 3.2 pastes the rendered face back; the paper does not say how. Here only the lower face, where the
    words are, is
pasted: the union of where it is and where it will be, faded out towards the upper face and outside the chin.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..checks import check_shape
from ..geometry.camera import rotation_matrix
from ..geometry.face_model import FaceModel, Region
from ..geometry.rasterizer import rasterize
from ..types import FrameStatus

SKIRT_SHARE = 0.5  # of the jaw's weight that the skirt between jaw and the mesh's border has
# weight of the face's outline where it does not move: enough to hide no seam, too little to double it
STILL_OUTLINE = 0.4
FAR = 0.012  # of the crop's side: an outline that moves as far is pasted whole
FEATHER = 0.012  # of the crop's side: standard deviation of the blur that rounds off the mesh's corners
DRAWN_SIZE = (
    256  # pixels of the side at which a mask is drawn; it is soft, so that larger crops get it enlarged
)
BORDER = 0.02  # of the crop's side: width of the ramp to 0 at the crop's own border
# turned further than the first the dub fades, from the second on the source is shown
TURNED_DEGREES = (
    45.0,
    55.0,
)
FADE_SECONDS = 0.2  # the dub fades in over this time after frames that pass through, and out before them


def lower_face_mask(source_points: Tensor, target_points: Tensor, face_model: FaceModel, size: int) -> Tensor:
    """The soft mask of the pixels that may change.

    Args:
        source_points: (V, 3) vertices of the source frame in crop pixels.
        target_points: (V, 3) vertices of the rendered frame in crop pixels.
        face_model:    lower_weight (V,), triangles, region.
        size:          pixels of the crop's side.
    Returns:
        (size, size) float32 in [0, 1]: 1 on the lower face of either geometry, less along an outline that
        stays where it is, falling to exactly 0 towards the upper face, around the skirt's outermost ring and
        at the border of the crop.
    """
    check_shape("source points", source_points, face_model.vertex_count, 3)
    check_shape("target points", target_points, face_model.vertex_count, 3)
    moved = (target_points - source_points)[:, :2].float().cpu().norm(dim=1) / size
    weight = vertex_weight(face_model, moved)
    part = (weight[face_model.triangles] > 0).any(dim=1)
    triangles, drawn = face_model.triangles[part], min(size, DRAWN_SIZE)
    corners = torch.stack([source_points, target_points])[:, triangles, :2] * (drawn / size)  # (2, F, 3, 2)
    union = draw_weights(corners, weight[triangles], drawn)
    reach = 2 * round(3 * FEATHER * drawn) + 1
    soft = cv2.GaussianBlur(union, (reach, reach), FEATHER * drawn, borderType=cv2.BORDER_REPLICATE)
    if drawn < size:
        soft = cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(_smoothstep(soft * border_ramp(size)).astype(np.float32))


def vertex_weight(face_model: FaceModel, moved: Tensor | None = None) -> Tensor:
    """How far each vertex belongs to what may change.

    Args:
        face_model: lower_weight (V,), triangles, region.
        moved:      (V,) way between the two geometries as a share of the crop's side; None takes all as moved
            far.
    Returns:
        (V,) in [0, 1]: the lower face and its cavity whole, the outline of the face and the skirt around it
        as far as they move (what is behind a jaw that stays should stay too), and nothing of the mesh's outer
        border.
    """
    weight = face_model.lower_weight.float().clone()
    skirt = face_model.triangles[face_model.region == int(Region.SKIRT)].unique()
    others = face_model.triangles[face_model.region != int(Region.SKIRT)].unique()
    outside = skirt[~torch.isin(skirt, others)]
    outline = skirt[torch.isin(skirt, others)]
    weight[outside] *= SKIRT_SHARE
    if moved is not None:
        share = (moved / FAR).clamp(0, 1)
        weight[outline] *= STILL_OUTLINE + (1 - STILL_OUTLINE) * share[outline]
        weight[outside] *= share[outside]
    border = border_vertices(face_model.triangles)
    weight[border[torch.isin(border, outside)]] = (
        0.0  # the cavity's ring is a border too, and must be pasted whole
    )
    return weight


def draw_weights(corners: Tensor, weights: Tensor, size: int) -> np.ndarray:
    """Paint triangles with their weights, the largest where they overlap: weights stand in for nearness in a
    z-buffer.

    Args:
        corners: (T, F, 3, 2) x, y in pixels of T drawings that are laid over each other; triangles turned
            away are left out.
        weights: (F, 3) of the corners, in [0, 1].
        size:    pixels of the side.
    Returns:
        (size, size) float32 in [0, 1], 0 where no triangle is.
    """
    corners = corners.float().cpu().clamp(-2 * size, 3 * size)
    first, second = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    # counter-clockwise for the viewer, y pointing down
    facing = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0] < 0
    corners = torch.where(facing[..., None, None], corners, corners[:, :, :1])  # without area
    points = torch.cat(
        [corners, weights.float().cpu().expand(len(corners), -1, -1)[..., None]], dim=-1
    )  # (T, F, 3, 3)
    points = rearrange(points, "t f k c -> t (f k) c")
    _, _, nearness = rasterize(points, torch.arange(points.shape[1]).view(-1, 3), (size, size))
    return nearness.amax(dim=0).clamp(0, 1).numpy()


def border_vertices(triangles: Tensor) -> Tensor:
    """Ids of the vertices on an edge that only one triangle has. triangles (F, 3) -> (K,) int64."""
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(1).values
    most = int(triangles.max()) + 1
    edge, count = (edges[:, 0] * most + edges[:, 1]).unique(return_counts=True)
    edge = edge[count == 1]
    return torch.cat([edge // most, edge % most]).unique()


def border_ramp(size: int) -> np.ndarray:
    """(size, size) float32: 1 inside, falling to 0 at the border, so that no mask is cut by the crop's own
    edge."""
    place = np.arange(size) + 0.5
    ramp = (np.minimum(place, size - place) / (BORDER * size) - 0.5).clip(0, 1)
    return np.minimum(ramp[:, None], ramp[None]).astype(np.float32)


def passthrough_weight(status: np.ndarray, times: np.ndarray, shot: np.ndarray | None = None) -> np.ndarray:
    """How much of the dub each frame shows, so that it does not pop in and out around frames that pass
    through.

    Args:
        status: (T,) FrameStatus.
        times:  (T,) seconds.
        shot:   (T,) shot numbers; a hard cut hides the change, so that nothing is faded across it. None is
            one shot.
    Returns:
        (T,) float32 in [0, 1]: 0 where the status is not OK, rising to 1 within FADE_SECONDS of such a frame.
    """
    count = check_shape("status", status, "T")["T"]
    check_shape("times", times, count)
    shot = np.zeros(count, np.int64) if shot is None else np.asarray(shot)
    check_shape("shot", shot, count)
    times, unusable = np.asarray(times, np.float64), np.asarray(status) != int(FrameStatus.OK)
    away = np.full(count, np.inf)
    for number in np.unique(shot):
        here = np.flatnonzero(shot == number)
        bad = np.sort(times[here[unusable[here]]])
        if len(bad):
            place = np.searchsorted(bad, times[here])
            before = times[here] - bad[(place - 1).clip(0)]
            after = bad[place.clip(0, len(bad) - 1)] - times[here]
            away[here] = np.minimum(np.abs(before), np.abs(after))
    weight = _smoothstep((away / FADE_SECONDS).clip(0, 1))
    return np.where(unusable, 0.0, weight).astype(np.float32)


def turned_weight(rotation: Tensor) -> np.ndarray:
    """How much of the dub frames show by how far their heads are turned: half a face tells too little of the
    mouth.

    Args:
        rotation: (T, 3) axis-angle of the face, radians.
    Returns:
        (T,) float32 in [0, 1]: 1 up to the first of TURNED_DEGREES between the face's direction and the
        camera's, 0 from the second on.
    """
    check_shape("rotation", rotation, "T", 3)
    forward = rotation_matrix(rotation.float().cpu())[:, 2, 2].clamp(-1, 1)
    start, end = TURNED_DEGREES
    return _smoothstep(((end - torch.rad2deg(forward.arccos())) / (end - start)).clamp(0, 1).numpy()).astype(
        np.float32
    )


def _smoothstep(value: np.ndarray) -> np.ndarray:
    return value * value * (3 - 2 * value)
