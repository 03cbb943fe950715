"""What lies before the lower face: places of the skin that look like none of the clip's other frames show
them.

A hand, a microphone or a strand of hair over the mouth must stay the source's. The mesh carries each place of
the skin from frame to frame, so a source frame can be compared with the references place by place. A place is
judged covered only when its colour is far from what nearly all references show there, whatever their mouth
does: wrinkles, shadows, beards and open mouths occur in the references too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor

from ..checks import check_shape
from ..geometry.face_model import FaceModel, Region

SAMPLE_SIZE = 128  # pixels of the crop's side on which colours are compared and masks are painted
PARTS = 2  # each triangle is cut into PARTS ** 2 places
UPPER_STEP = 6  # of the upper face, which only tells the light, every so many triangles are read
# share of the references that must differ before a place counts as occluded: the nearest of them count
AGREEING = 0.25
TOLERANCE = 0.10  # of full scale: colour distance that skin reaches by itself
LIP_TOLERANCE = 0.16  # the same on the lips, where teeth, tongue and tracking errors come in
# times what the references differ among themselves is tolerated, between LEAST_TOLERANCE and 1 of the above
USUAL = 1.5
LEAST_TOLERANCE = 0.5
EXPOSURE = 0.12  # of full scale: largest change of light of the whole face that is allowed for
# of the tolerance: from here on a place is occluded for sure, between 1 and this perhaps
CERTAIN = 1.25
# of the tolerance of bare skin: around what is occluded, places beyond this are taken for the same thing
SPREADS = 0.5
LEAST_AREA = 0.02  # of the lower face: smaller patches are noise
# of the crop's side: gaps as wide between occluded patches, such as a mouth under a hand, are occluded too
GAP = 0.06
GROWTH = 0.02  # of the crop's side: what is occluded is kept this much wider, for its own soft edge
SEAM = 0.012  # of the crop's side: standard deviation of the blur of its edge
ENOUGH = 5  # references below which nothing can be said about what is usual
MAX_COMPARED = 15  # references that frames are compared with
CENTRE_WEIGHT = 0.5  # of a frame's score, beside that of the frames before and after it


@dataclass(frozen=True, eq=False)
class SkinPlaces:
    """Where colours are compared. vertex (P, 3) int64 and share (P, 3): corners, weights; tolerance (P,);
    upper (P,) bool: never pasted."""

    vertex: np.ndarray
    share: np.ndarray
    tolerance: np.ndarray
    upper: np.ndarray

    def positions(self, points: np.ndarray) -> np.ndarray:
        """Vertices (V, 2) to places (P, 2)."""
        return einsum(points[self.vertex], self.share, "p k c, p k -> p c").astype(np.float32)

    def facing(self, points: np.ndarray) -> np.ndarray:
        """(P,) bool: places on triangles that are turned to the viewer, from vertices (V, 2) with y
        downwards."""
        a, b, c = (points[self.vertex[:, k]] for k in range(3))
        area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        return area < -0.15 * np.abs(area).mean()


def skin_places(face_model: FaceModel) -> SkinPlaces:
    """The places of the face proper: no cavity, no skirt, no eyes."""
    triangles = face_model.triangles[face_model.region == int(Region.FACE)].numpy()
    above = (face_model.lower_weight.numpy()[triangles] < 0.05).all(axis=1)
    triangles = np.concatenate([triangles[~above], triangles[above][::UPPER_STEP]])
    step = np.arange(PARTS)
    corners = [(i, j) for i in step for j in step if i + j < PARTS]
    corners += [(i + 1 / 3, j + 1 / 3) for i in step for j in step if i + j < PARTS - 1]
    share = np.array([[(i + 1 / 3) / PARTS, (j + 1 / 3) / PARTS] for i, j in corners], np.float32)
    share = np.concatenate([share, 1 - share.sum(1, keepdims=True)], axis=1)  # (PARTS ** 2, 3)
    vertex = np.repeat(triangles, len(share), axis=0)
    lip = np.zeros(face_model.vertex_count, bool)
    lip[
        np.concatenate([x.numpy() for x in (face_model.lips, face_model.outer_lips, face_model.inner_lips)])
    ] = True
    weight = face_model.lower_weight.numpy()
    tolerance = np.where(lip[vertex].any(axis=1), LIP_TOLERANCE, TOLERANCE).astype(np.float32)
    return SkinPlaces(
        vertex, np.tile(share, (len(triangles), 1)), tolerance, np.all(weight[vertex] < 0.05, axis=1)
    )


def place_colours(crop: np.ndarray, points: np.ndarray, places: SkinPlaces) -> np.ndarray:
    """Colours of the skin, (P, 3) float32 in [0, 1]; NaN where it is turned away or outside.

    Args:
        crop:   (R, R, 3) float in [0, 1].
        points: (V, 2) vertices in crop pixels.
    """
    size = check_shape("crop", crop, "R", "R", 3)["R"]
    check_shape("points", points, "V", 2)
    small = cv2.resize(
        np.ascontiguousarray(crop, np.float32), (SAMPLE_SIZE, SAMPLE_SIZE), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    at = places.positions(points) * (SAMPLE_SIZE / size) - 0.5
    read = cv2.remap(small, at[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]  # (P, 3)
    inside = ((at > 0) & (at < SAMPLE_SIZE - 1)).all(axis=1)
    return np.where((inside & places.facing(points))[:, None], read, np.nan).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SkinModel:
    """How N references show the skin. colours (N, P, 3) of :func:`place_colours`; strictness: share of the
    tolerance that is granted."""

    places: SkinPlaces
    colours: np.ndarray
    strictness: float = 1.0

    def occlusion_score(self, colours: np.ndarray) -> np.ndarray:
        """How unlike all references a frame's skin is, place by place.

        Args:
            colours: (P, 3) of the frame.
        Returns:
            (P,) float32 in units of the tolerance: up to 1 is skin, CERTAIN and more is something else; 0
            where nothing is known.
        """
        difference = colours - self.colours  # (N, P, 3)
        upper = difference[:, self.places.upper]
        known = np.any(np.isfinite(upper).all(axis=2), axis=1)
        shift = np.nanmedian(np.where(known[:, None, None], upper, 0.0), axis=1, keepdims=True)
        rest = np.abs(difference - shift.clip(-EXPOSURE, EXPOSURE)).max(axis=2)
        known = np.isfinite(rest)
        rank = np.minimum((AGREEING * known.sum(axis=0)).astype(int), len(rest) - 1)
        nearest = np.take_along_axis(np.sort(np.where(known, rest, np.inf), axis=0), rank[None], axis=0)[0]
        return np.where(
            np.isfinite(nearest), nearest / (self.strictness * self.places.tolerance), 0.0
        ).astype(np.float32)


def fit_skin(places: SkinPlaces, colours: np.ndarray) -> SkinModel:
    """Learn what is usual from references (N, P, 3): the less they differ among themselves, the less is
    tolerated."""
    usual = [
        SkinModel(places, np.delete(colours, k, axis=0)).occlusion_score(colours[k])[~places.upper]
        for k in range(len(colours))
    ]
    spread = float(np.quantile(usual, 0.99)) if len(usual) > 2 else 1.0
    return SkinModel(places, colours, float(np.clip(USUAL * spread, LEAST_TOLERANCE, 1.0)))


def occlusion_mask(score: np.ndarray, points: np.ndarray, places: SkinPlaces, size: int) -> np.ndarray:
    """Which pixels of a crop are something before the face.

    Args:
        score:  (P,) of :meth:`SkinModel.occlusion_score`, best the mean over neighbouring frames.
        points: (V, 2) of the frame, crop pixels.
        size:   pixels of the crop's side.
    Returns:
        (size, size) float32 in [0, 1]; exactly 0 everywhere for a bare face.
    """
    lower = ~places.upper & places.facing(points)
    if not (lower & (score > 1.0)).any():
        return np.zeros((size, size), np.float32)
    certain = ((score - 1.0) / (CERTAIN - 1.0)).clip(0, 1)
    scale = SAMPLE_SIZE / size
    corners = np.rint((points[places.vertex[:: PARTS**2]] * scale - 0.5) * 16).astype(
        np.int32
    )  # (F, 3, 2), 1/16 px
    seed, spread, face = (
        _paint(corners, value, lower)
        for value in (certain, score * places.tolerance / TOLERANCE > SPREADS, lower)
    )
    sure = cv2.GaussianBlur(seed, (0, 0), 1.5) > 0.5
    both = (sure | (cv2.GaussianBlur(spread, (0, 0), 1.5) > 0.5)).astype(np.uint8)
    both = cv2.morphologyEx(both, cv2.MORPH_CLOSE, _disc(GAP * SAMPLE_SIZE))
    count, label = cv2.connectedComponents(both)
    least = LEAST_AREA * face.sum()
    large = [k for k in range(1, count) if (sure & (label == k)).sum() >= least]
    if not large:
        return np.zeros((size, size), np.float32)
    kept = cv2.dilate(np.isin(label, large).astype(np.float32), _disc(GROWTH * SAMPLE_SIZE))
    kept = cv2.resize(kept, (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(kept, (0, 0), SEAM * size).clip(0, 1)


def visible_vertices(score: np.ndarray, places: SkinPlaces, count: int) -> np.ndarray:
    """How well a reference shows each of ``count`` vertices by the places around it: (V,) in [0, 1]; 1 where
    nothing is compared."""
    hidden = ((score - 1.0) / (CERTAIN - 1.0)).clip(0, 1)
    total, share = (
        np.bincount(places.vertex.ravel(), weights=w.ravel(), minlength=count)
        for w in (places.share * hidden[:, None], places.share)
    )
    return (1.0 - total / np.maximum(share, 1e-6)).clip(0, 1).astype(np.float32)


def _paint(corners: np.ndarray, value: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Triangles (F, 3, 2) with the mean of their places' values (P,), where their first place is shown:
    (SAMPLE_SIZE, SAMPLE_SIZE)."""
    mean = rearrange(value.astype(np.float32), "(f g) -> f g", g=PARTS**2).mean(axis=1)
    picture = np.zeros((SAMPLE_SIZE, SAMPLE_SIZE), np.float32)
    for k in np.flatnonzero(shown[:: PARTS**2] & (mean > 0)):
        cv2.fillConvexPoly(picture, corners[k], float(mean[k]), cv2.LINE_8, 4)
    return picture


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


class OcclusionDetector:
    """Occlusion scores of source frames, kept while they are needed.

    Args:
        pixels: (N, 3, R, R) in [0, 1], the lip references.  points: (N, V, 3) their vertices in crop pixels.
    """

    def __init__(self, face_model: FaceModel, pixels: Tensor, points: Tensor) -> None:
        self._places, self._vertices = skin_places(face_model), face_model.vertex_count
        chosen = torch.linspace(0, len(pixels) - 1, min(len(pixels), MAX_COMPARED)).round().long().unique()
        crops = rearrange(pixels[chosen.to(pixels.device)].float().cpu(), "n c h w -> n h w c").numpy()
        colours = [
            place_colours(crop, vertices, self._places)
            for crop, vertices in zip(crops, points[..., :2].cpu().numpy()[chosen], strict=True)
        ]
        self._skin = fit_skin(self._places, np.stack(colours)) if len(colours) >= ENOUGH else None
        self._scores: dict[int, np.ndarray] = {}

    def observe(self, number: int, crop: np.ndarray, points: Tensor) -> None:
        """Judge source frame ``number`` from its crop (R, R, 3) uint8 and its vertices (V, 3) in crop
        pixels."""
        if self._skin is not None and number not in self._scores:
            colours = place_colours(crop.astype(np.float32) / 255, points[:, :2].numpy(), self._places)
            self._scores[number] = self._skin.occlusion_score(colours)

    def observed(self, number: int) -> bool:
        """Whether a frame was observed, or nothing can be known."""
        return self._skin is None or number in self._scores

    def keep_only(self, numbers: Collection[int]) -> None:
        """Keep the scores of these frames only."""
        self._scores = {i: score for i, score in self._scores.items() if i in numbers}

    def visibility(self, number: int) -> Tensor:
        """(V,) in [0, 1]: how well the frame shows each vertex; what something lies before is not taken from
        it."""
        if self._skin is None:
            return torch.ones(self._vertices)
        return torch.from_numpy(visible_vertices(self._scores[number], self._places, self._vertices))

    def mask(self, number: int, neighbours: Collection[int], points: Tensor, size: int) -> Tensor:
        """Pixels of a frame that are not the face's, steadied over the frames around it.

        Args:
            neighbours: frames just before and after it that were observed.
            points:     (V, 3) of the frame in crop pixels.  size: R.
        Returns:
            (R, R) float32 in [0, 1], 0 for a bare face.
        """
        if self._skin is None:
            return torch.zeros(size, size)
        score = self._scores[number]
        around = [self._scores[i] for i in neighbours]
        if around:
            score = CENTRE_WEIGHT * score + (1 - CENTRE_WEIGHT) * np.mean(around, axis=0)
        return torch.from_numpy(occlusion_mask(score, points[:, :2].numpy(), self._places, size))
