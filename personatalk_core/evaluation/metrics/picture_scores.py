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
from ...types import CropBoxes, FaceGeometry, OnProgress
from ..judges.networks import JudgeNetworks
from ..judges.syncnet import sync_score
from .feature_distance import Features, cosine_similarity, filter_bank, frechet_distance
from .flicker import flicker
from .frame_pairing import VideoPair
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

    def add_features(self, name: str, rows: Tensor) -> None:
        self.features.setdefault(name, []).append(rows)

    def mean(self, name: str) -> float:
        return float(torch.tensor(self.values.get(name, [float("nan")])).nanmean())

    def median(self, name: str) -> float:
        return float(torch.tensor(self.values.get(name, [float("nan")])).nanmedian())


class CropChunk:
    """A few frames of one video's crops: pixels (T, 3, 256, 256), points (T, V, 3) at 256, masks drawn once,
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


class SourceCrops:
    """Chunks of one source, by frame numbers, so that several outputs of it are compared with less work."""

    def __init__(self, max_chunks: int = 128) -> None:
        self._chunks: dict[tuple[int, ...], CropChunk] = {}
        self._max_chunks = max_chunks  # about 8 MB each

    def get(self, index: Tensor) -> CropChunk | None:
        """The chunk of these frames (T,), where it was cropped before."""
        return self._chunks.get(tuple(index.tolist()))

    def add(self, index: Tensor, chunk: CropChunk) -> CropChunk:
        """Keep a chunk, while there is room."""
        if len(self._chunks) < self._max_chunks:
            self._chunks[tuple(index.tolist())] = chunk
        return chunk


class _Cropper:
    """Crops frames of either video where the source's face is, at the source's own resolution."""

    def __init__(self, pair: VideoPair, face_model: FaceModel) -> None:
        self.boxes, self.face_model = crop_boxes(pair.source_geometry, face_model), face_model
        self.size = crop_size(self.boxes, pair.source_geometry)

    def chunk(
        self, frames: Iterable[np.ndarray], geometry: FaceGeometry, source_frame: Tensor, opening: Tensor
    ) -> CropChunk:
        """geometry: of these frames.  source_frame: (T,) whose boxes are taken.  opening: (T,)."""
        box = CropBoxes(self.boxes.box[source_frame])
        crops = [_tensor(crop_image(f, b, self.size)) for f, b in zip(frames, box.box, strict=True)]
        points = crop_points(posed_vertices(geometry, self.face_model), box, CROP_SIZE)
        return CropChunk(torch.stack(crops), points, opening, self.face_model)


def picture_scores(
    pair: VideoPair,
    frames: Tensor,
    models: Models,
    judges: JudgeNetworks,
    source_crops: SourceCrops,
    on_progress: OnProgress,
) -> FrameScores:
    """Walk through both videos together, a few frames in memory at a time; crops lie where the source's face
    is.

    Args:
        frames:       (K,) output frames to compare.
        source_crops: of this source, from earlier outputs; filled on the way.
    Raises:
        MediaError: a video cannot be read.
    """
    scores, cropper = FrameScores(), _Cropper(pair, models.face_model)
    opening = mouth_series(pair.output_geometry, models.face_model)[0]
    true_opening = mouth_series(pair.source_geometry[pair.source_frame], models.face_model)[0]
    identical = pair.identical
    # readers of the frames that were not cropped before
    chunks = frames.split(CHUNK)
    missing = [rows for rows in chunks if source_crops.get(pair.source_frame[rows]) is None]
    source_frames = VideoReader(pair.source).frames(
        [int(i) for rows in missing for i in pair.source_frame[rows]]
    )
    output_frames = VideoReader(pair.output).frames(frames.tolist())
    done = 0
    for rows in chunks:
        # the source's chunk, then the output's
        index = pair.source_frame[rows]
        real = source_crops.get(index)
        if real is None:
            pictures = islice(source_frames, len(rows))
            real = source_crops.add(
                index, cropper.chunk(pictures, pair.source_geometry[index], index, true_opening[rows])
            )
        if identical:
            ours = real
        else:
            pictures = islice(output_frames, len(rows))
            ours = cropper.chunk(pictures, pair.output_geometry[rows], index, opening[rows])
        # scores
        scores.add("lip_detail", ours.detail / real.detail)
        scores.add("flicker", ours.flicker[None])
        scores.add("source_flicker", real.flicker[None])
        _compare(scores, ours, real, judges)
        done += len(rows)
        on_progress(done, len(frames))
    return scores


def _compare(scores: FrameScores, ours: CropChunk, real: CropChunk, judges: JudgeNetworks) -> None:
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
    fourth = slice(None, None, 4)
    pairs = zip(real.points[fourth], ours.points[fourth], strict=True)
    lower = torch.stack([lower_face_mask(a, b, real.face_model, CROP_SIZE) for a, b in pairs])[:, None]
    scores.add("psnr_outside", masked_psnr(ours.pixels[fourth], real.pixels[fourth], lower == 0))
    scores.add("seam", seam_visibility(ours.pixels[fourth], real.pixels[fourth], lower))
    features: dict[str, Features | None] = {
        "filter_bank": filter_bank,
        "fid": judges.inception,
        "csim": judges.arcface,
    }
    for name, extract in features.items():
        if extract is not None:
            scores.add_features(
                name, torch.stack([ours.features(name, extract), real.features(name, extract)], dim=1)
            )
    if judges.lpips is not None:
        scores.add("lpips", judges.lpips(ours.pixels, real.pixels))
    if judges.syncnet is not None:
        scores.crops.append(ours.pixels)


def picture_means(
    scores: FrameScores, own_sound: bool, judges: JudgeNetworks, samples: Tensor | None
) -> dict[str, float]:
    """One number a metric from what the frames gave."""
    found = {name: scores.mean(name) for name in ("psnr_outside", "seam")}
    if own_sound:
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
