"""How close rendered crops come to the real ones: the renderer's self-test (``reconstruct --report``).

Masks, all drawn from the true geometry at the crop's size: *face* is the drawn PNCC face with eyes and mouth
cavity and without the skirt; *lips* is the red of the lips and the mouth cavity, dilated by ``LIP_DILATION``
of the crop's width (4 px at 256). A clip's PSNR is the mean of its frames' PSNR, the corpus' the mean of its
clips'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...geometry.face_model import FaceModel, Region
from ...rendering.fast.surface import draw_surface
from ...rendering.regions import lip_triangles

LIP_DILATION = 4 / 256
LIP_BAND = (
    0.06  # canonical-free: fraction of the crop's width around the lips inside which detail is measured
)


@dataclass(frozen=True, eq=False)
class RegionMasks:
    """face, lips and inside (of the mouth: teeth, tongue, dark), (T, 1, R, R) bool."""

    face: Tensor
    lips: Tensor
    inside: Tensor


def region_masks(
    points: Tensor, face_model: FaceModel, size: int, dilation: float = LIP_DILATION
) -> RegionMasks:
    """Draw the masks of the metrics: points (T, V, 3) in crop pixels of a size x size crop."""
    surface = draw_surface(points, face_model, size)
    face = surface.face[:, None]
    mouth = torch.zeros(face_model.vertex_count, 2, device=points.device)
    mouth[torch.unique(face_model.triangles[lip_triangles(face_model)]), 0] = 1.0
    mouth[torch.unique(face_model.triangles[face_model.region == int(Region.MOUTH_CAVITY)]), 1] = 1.0
    lips, inside = (surface.interpolate(mouth) > 0.999).split(1, dim=1)  # (T, 1, R, R) each
    return RegionMasks(face, dilate(lips & face, round(dilation * size)) & face, inside & face)


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Grow a bool mask (T, 1, H, W) by ``pixels`` in a square neighbourhood: rows, then columns."""
    if pixels == 0:
        return mask
    rows = F.max_pool2d(mask.float(), (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))
    return F.max_pool2d(rows, (1, 2 * pixels + 1), stride=1, padding=(0, pixels)) > 0


def masked_psnr(image: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """PSNR of each frame inside a mask, in dB for values in [0, 1]: (T, 3, H, W) twice and (T, 1, H, W) to
    (T,); NaN for an empty mask."""
    frames = check_shape("image", image, "T", 3, "H", "W")["T"]
    check_shape("truth", truth, *image.shape)
    check_shape("mask", mask, frames, 1, *image.shape[-2:])
    inside = mask.to(image.dtype)
    squared = ((image - truth).square() * inside).sum(dim=(1, 2, 3)) / (3.0 * inside.sum(dim=(1, 2, 3)))
    return -10.0 * torch.log10(squared.clamp_min(1e-10))


def masked_ssim(image: Tensor, truth: Tensor, mask: Tensor, window: int = 7) -> Tensor:
    """SSIM of each frame (uniform window, luma), averaged inside a mask: (T,)."""
    return averaged(ssim_map(image, truth, window), mask)


def ssim_map(image: Tensor, truth: Tensor, window: int = 7) -> Tensor:
    """(T, 3, H, W) twice to SSIM around each pixel, (T, 1, H, W); windows end at the border."""
    luma = image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    x, y = (image * luma).sum(1, keepdim=True), (truth * luma).sum(1, keepdim=True)
    maps = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    for size in ((window, 1), (1, window)):  # a square, one axis at a time
        maps = F.avg_pool2d(
            maps, size, stride=1, padding=(size[0] // 2, size[1] // 2), count_include_pad=False
        )
    mx, my, xx, yy, xy = maps.split(1, dim=1)
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    return (
        (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2) / ((mx * mx + my * my + 0.01**2) * (vx + vy + 0.03**2))
    )


def averaged(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (T, 1, H, W) inside a mask (T, 1, H, W): (T,)."""
    inside = mask.to(values.dtype)
    return (values * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3))


def detail(image: Tensor, mask: Tensor) -> Tensor:
    """High-frequency energy: standard deviation of the luma's Laplacian inside a mask, (T,)."""
    luma = (image * image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    response = F.conv2d(F.pad(luma, (1, 1, 1, 1), mode="replicate"), kernel)
    rows = []
    for frame, inside in zip(
        rearrange(response, "t 1 h w -> t h w"), rearrange(mask, "t 1 h w -> t h w"), strict=True
    ):
        rows.append(frame[inside].std() if bool(inside.any()) else frame.new_tensor(float("nan")))
    return torch.stack(rows)


def around_lips(masks: RegionMasks) -> Tensor:
    """The lips and LIP_BAND of the crop's width around them, inside the face: (T, 1, R, R) bool at the masks'
    size."""
    return dilate(masks.lips, round(LIP_BAND * masks.lips.shape[-1])) & masks.face


def at_size(mask: Tensor, size: int) -> Tensor:
    """A bool mask (T, 1, R, R) at another size of the same crop."""
    return mask if mask.shape[-1] == size else F.interpolate(mask.float(), (size, size), mode="nearest") > 0.5


def lip_detail(pixels: Tensor, around: Tensor) -> Tensor:
    """Standard deviation of the luma's Laplacian around the lips, in grey levels of 255.

    Args:
        pixels: (T, 3, R, R) in [0, 1], at the source's own resolution where detail is to be judged.
        around: (T, 1, R, R) bool of :func:`around_lips`.
    Returns:
        (T,); NaN where nothing is drawn. Compare medians over frames: output over source, 0.9 or more is
        sharp.
    """
    return 255.0 * detail(pixels, around)


def reconstruction_report(
    image: Tensor, truth: Tensor, points: Tensor, face_model: FaceModel
) -> dict[str, float]:
    """The numbers of one clip.

    Args:
        image, truth: (T, 3, R, R) in [0, 1].  points: (T, V, 3) true geometry in crop pixels.
    Returns:
        psnr_face, psnr_lips, ssim_face, ssim_lips (means over frames), detail_lips (median over frames of the
        ratio of :func:`detail` around the lips to the truth's), frames.
    """
    size = image.shape[-1]
    masks = region_masks(points, face_model, size)
    around = around_lips(masks)
    similar = ssim_map(image, truth)
    return {
        "psnr_face": float(masked_psnr(image, truth, masks.face).nanmean()),
        "psnr_lips": float(masked_psnr(image, truth, masks.lips).nanmean()),
        "ssim_face": float(averaged(similar, masks.face).nanmean()),
        "ssim_lips": float(averaged(similar, masks.lips).nanmean()),
        "detail_lips": float((detail(image, around) / detail(truth, around)).nanmedian()),
        "frames": float(len(image)),
    }
