"""What the pixels of two videos of one size say, walked through together a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...compose.crop import crop_boxes, crop_image, crop_points
from ...compose.masks import lower_face_mask
from ...config import CROP_SIZE
from ...dubbing.frame_renderer import crop_size
from ...geometry.face_model import FaceModel
from ...geometry.vertices import posed_vertices
from ...media.video_reader import VideoReader
from ...models import Models
from ...types import CropBoxes, FaceGeometry, OnProgress, VideoInfo
from ..judges.networks import JudgeNetworks
from ..judges.syncnet import sync_score
from .feature_distance import Features, cosine_similarity, filter_bank, frechet_distance
from .flicker import flicker
from .image_quality import gmsd, psnr, seam_visibility, ssim
from .landmark_distance import mouth_series
from .reconstruction import around_lips, at_size, lip_detail, masked_psnr, region_masks

CHUNK = 8  # frames compared at once


@dataclass(eq=False)
class FrameScores:
    """What is collected frame by frame; lists of floats and of feature rows."""

    values: dict[str, list[float]] = field(default_factory=dict)
    features: dict[str, list[Tensor]] = field(default_factory=dict)
    crops: list[Tensor] = field(default_factory=list)

    def add(self, name: str, rows: Tensor) -> None:
        self.values.setdefault(name, []).extend(rows.tolist())

    def keep(self, name: str, rows: Tensor) -> None:
        self.features.setdefault(name, []).append(rows)

    def mean(self, name: str) -> float:
        return float(torch.tensor(self.values.get(name, [float("nan")])).nanmean())

    def median(self, name: str) -> float:
        return float(torch.tensor(self.values.get(name, [float("nan")])).nanmedian())


class Look:
    """A chunk of one video's crops: pixels (T, 3, 256, 256), points (T, V, 3) at 256, masks drawn once,
    detail (T,) at the source's own resolution, and flicker () of every second still pair."""

    def __init__(self, native: Tensor, points: Tensor, opening: Tensor, face_model: FaceModel) -> None:
        self.points, self.opening, self.face_model = points, opening, face_model
        small = native.shape[-1] == CROP_SIZE
        self.pixels = (
            native
            if small
            else F.interpolate(native, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        )
        self.masks = region_masks(points, face_model, CROP_SIZE)
        self.around = around_lips(self.masks)
        self.detail = lip_detail(native, at_size(self.around, native.shape[-1]))
        self._features: dict[str, Tensor] = {}

    @cached_property
    def flicker(self) -> Tensor:
        return torch.tensor(
            flicker(self.pixels, self.points, self.opening, self.around, self.face_model, every=2)
        )

    def features(self, name: str, extract: Features) -> Tensor:
        """(T, D), extracted once."""
        if name not in self._features:
            self._features[name] = extract(self.pixels)
        return self._features[name]


class SourceLooks:
    """What was seen of one source, by frame numbers, so that several outputs of it are compared with less
    work."""

    def __init__(self, most: int = 128) -> None:
        self._looks: dict[tuple[int, ...], Look] = {}
        self._most = most  # chunks: about 8 MB each

    def known(self, index: Tensor) -> Look | None:
        """The chunk of these frames (T,), where it was looked at before."""
        return self._looks.get(tuple(index.tolist()))

    def remember(self, index: Tensor, look: Look) -> Look:
        """Keep a chunk, while there is room."""
        if len(self._looks) < self._most:
            self._looks[tuple(index.tolist())] = look
        return look


def picture_scores(
    made: VideoInfo,
    given: VideoInfo,
    seen: FaceGeometry,
    truth: FaceGeometry,
    shown: Tensor,
    keep: Tensor,
    models: Models,
    judges: JudgeNetworks,
    looks: SourceLooks,
    progress: OnProgress,
) -> FrameScores:
    """Walk through both videos together, a few frames in memory at a time; crops lie where the source's face
    is."""
    face_model, scores = models.face_model, FrameScores()
    boxes = crop_boxes(truth, face_model)
    native = crop_size(boxes, truth)
    made_frames = VideoReader(made).frames(keep.tolist())
    opening, true_opening = (
        mouth_series(seen, face_model)[0],
        mouth_series(truth[shown], face_model)[0],
    )
    done = 0

    def look(
        frames: Iterable[np.ndarray], box: CropBoxes, geometry: FaceGeometry, index: Tensor, series: Tensor
    ) -> Look:
        crops = torch.stack(
            [_tensor(crop_image(frame, b, native)) for frame, b in zip(frames, box.box, strict=True)]
        )
        return Look(
            crops,
            crop_points(posed_vertices(geometry[index], face_model), box, CROP_SIZE),
            series,
            face_model,
        )

    chunks = keep.split(CHUNK)
    unseen = [int(i) for rows in chunks if looks.known(shown[rows]) is None for i in shown[rows]]
    given_frames = VideoReader(given).frames(unseen)
    for rows in chunks:
        index = shown[rows]
        box = CropBoxes(boxes.box[index])
        real = looks.known(index) or looks.remember(
            index, look(islice(given_frames, len(rows)), box, truth, index, true_opening[rows])
        )
        same = made.path == given.path and bool((rows == index).all()) and seen is truth
        ours = real if same else look(islice(made_frames, len(rows)), box, seen, rows, opening[rows])
        scores.add("lip_detail", ours.detail / real.detail)
        scores.add("flicker", ours.flicker[None])
        scores.add("source_flicker", real.flicker[None])
        _compare(scores, ours, real, judges)
        done += len(rows)
        progress(done, len(keep))
    return scores


def _compare(scores: FrameScores, ours: Look, real: Look, judges: JudgeNetworks) -> None:
    """Picture metrics of one chunk of 256 x 256 crops; the pasted region is drawn for every fourth frame
    only."""
    for name, rows in (
        ("psnr", psnr(ours.pixels, real.pixels)),
        ("ssim", ssim(ours.pixels, real.pixels)),
        ("gmsd", gmsd(ours.pixels, real.pixels)),
        ("psnr_face", masked_psnr(ours.pixels, real.pixels, real.masks.face)),
        ("psnr_lips", masked_psnr(ours.pixels, real.pixels, real.masks.lips)),
    ):
        scores.add(name, rows)
    some = slice(None, None, 4)
    pairs = zip(real.points[some], ours.points[some], strict=True)
    lower = torch.stack([lower_face_mask(a, b, real.face_model, CROP_SIZE) for a, b in pairs])[:, None]
    scores.add("psnr_outside", masked_psnr(ours.pixels[some], real.pixels[some], lower == 0))
    scores.add("seam", seam_visibility(ours.pixels[some], real.pixels[some], lower))
    features: dict[str, Features | None] = {
        "filter_bank": filter_bank,
        "fid": judges.inception,
        "csim": judges.arcface,
    }
    for name, extract in features.items():
        if extract is not None:
            scores.keep(
                name, torch.stack([ours.features(name, extract), real.features(name, extract)], dim=1)
            )
    if judges.lpips is not None:
        scores.add("lpips", judges.lpips(ours.pixels, real.pixels))
    if judges.syncnet is not None:
        scores.crops.append(ours.pixels)


def picture_means(
    scores: FrameScores, own: bool, judges: JudgeNetworks, samples: Tensor | None
) -> dict[str, float]:
    """One number a metric from what the frames gave."""
    found = {name: scores.mean(name) for name in ("psnr_outside", "seam")}
    if own:
        found |= {
            name: scores.mean(name) for name in ("ssim", "psnr", "psnr_face", "psnr_lips", "gmsd", "lpips")
        }
    found["lip_detail_ratio"] = scores.median("lip_detail")
    found["flicker_ratio"] = scores.mean("flicker") / max(scores.mean("source_flicker"), 1e-6)
    for name, title in (("filter_bank", "filter_bank_distance"), ("fid", "fid")):
        if name in scores.features:
            both = torch.cat(scores.features[name])
            found[title] = frechet_distance(both[:, 0], both[:, 1]) if len(both) > 1 else float("nan")
    if "csim" in scores.features:
        both = torch.cat(scores.features["csim"])
        found["csim"] = float(cosine_similarity(both[:, 0], both[:, 1]).mean())
    if judges.syncnet is not None and samples is not None:
        found["sync_score"] = sync_score(judges.syncnet, torch.cat(scores.crops), samples)["sync_score"]
    return found


def _tensor(picture) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255
