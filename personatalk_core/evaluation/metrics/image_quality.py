"""SSIM, PSNR and GMSD of whole crops: how close pictures come to the real ones (paper 4.2, visual quality).

All take values in [0, 1]. Inside masks, ``reconstruction`` measures the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn import functional as F

from ...checks import check_shape
from .reconstruction import masked_psnr

WINDOW, DEVIATION = 11, 1.5  # Wang et al. 2004
LUMA = (0.299, 0.587, 0.114)
GMSD_C = 0.0026  # Xue et al. 2014, for values in [0, 1]


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of each frame: (T, 3, H, W) twice to (T,); 100 dB where they are
    equal."""
    return masked_psnr(image, truth, torch.ones_like(image[:, :1], dtype=torch.bool))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each frame.

    Paper: 4.2. Wang et al. 2004: luma, Gaussian window of 11 pixels and deviation 1.5, windows inside the
        picture only.
    Args:
        image, truth: (T, 3, H, W) in [0, 1], H and W at least 11.
    Returns:
        (T,) in [-1, 1]; 1 where they are equal.
    """
    axes = check_shape("image", image, "T", 3, "H", "W")
    check_shape("truth", truth, axes["T"], 3, axes["H"], axes["W"])
    x, y = luma(image), luma(truth)
    offset = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    bell = torch.exp(-0.5 * (offset / DEVIATION).square())
    bell = bell / bell.sum()

    def mean(value: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(value, bell[None, None, :, None]), bell[None, None, None, :])

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    score = (
        (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2) / ((mx * mx + my * my + 0.01**2) * (vx + vy + 0.03**2))
    )
    return score.mean(dim=(1, 2, 3))


def gmsd(image: Tensor, truth: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation of each frame (Xue et al. 2014): 0 is the same picture, larger
    is worse.

    The perceptual distance that needs no learned weights; it stands beside LPIPS, it is not LPIPS.
    Args:
        image, truth: (T, 3, H, W) in [0, 1].
    Returns:
        (T,) >= 0.
    """
    check_shape("truth", truth, *image.shape)
    first, second = (_gradient(F.avg_pool2d(luma(x), 2)) for x in (image, truth))
    similarity = (2 * first * second + GMSD_C) / (first.square() + second.square() + GMSD_C)
    return similarity.flatten(1).std(dim=1, correction=0)


def luma(image: Tensor) -> Tensor:
    """(T, 3, H, W) to (T, 1, H, W), ITU-R BT.601."""
    return (image * image.new_tensor(LUMA)[None, :, None, None]).sum(1, keepdim=True)


def _gradient(x: Tensor) -> Tensor:
    """Prewitt gradient magnitude of (T, 1, H, W)."""
    kernel = x.new_tensor([[1.0, 0.0, -1.0]] * 3) / 3.0
    both = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])
    return both.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()


BAND = (0.02, 0.98)  # of the mask: where it goes from nothing to everything
BLUR = 5  # pixels: grain and coding noise are no seam


def seam_visibility(image: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Steepness of the change along the border of the pasted region.

    Args:
        image, source: (T, 3, H, W) in [0, 1].
        mask:          (T, 1, H, W) in [0, 1], how much of the output was pasted.
    Returns:
        (T,) 95th percentile of the gradient of the blurred luma difference in the band where the mask fades
        (one pixel to either side where it is hard), in grey levels of 255 a pixel; 0 where nothing was
        changed; NaN without a border.
    """
    check_shape("source", source, *image.shape)
    frames, _, height, width = image.shape
    check_shape("mask", mask, frames, 1, height, width)
    change = F.avg_pool2d(
        luma(image) - luma(source), BLUR, stride=1, padding=BLUR // 2, count_include_pad=False
    )
    gradient = torch.zeros_like(change)
    gradient[..., :-1, :-1] = (change[..., 1:, :-1] - change[..., :-1, :-1]).square() + (
        change[..., :-1, 1:] - change[..., :-1, :-1]
    ).square()
    most, least = F.max_pool2d(mask, 3, 1, 1), -F.max_pool2d(-mask, 3, 1, 1)
    band = (most > BAND[0]) & (least < BAND[1])
    rows = [
        g[b].sqrt().quantile(0.95) if bool(b.any()) else g.new_tensor(float("nan"))
        for g, b in zip(gradient, band, strict=True)
    ]
    return 255.0 * torch.stack(rows)


# of the eye distance a frame: mean path of the upper face's landmarks over four frames, of means of five
STILL_HEAD = 0.0025
STILL_MOUTH = 0.004  # of the eye distance a frame: change of the opening over four frames, of means of three
FEWEST = 10  # frames; a clip with fewer still ones is measured in this many of its stillest


def second_difference(points: Tensor) -> Tensor:
    """(T, K, 2 or more) to (T - 2, K): length of the second difference in the image, pixels."""
    return (points[2:] - 2 * points[1:-1] + points[:-2])[..., :2].norm(dim=-1)


def head_speed(points: Tensor, unit: float, seen: Tensor) -> Tensor:
    """How fast the head moves.

    Args:
        points: (T, K, 2 or more) landmarks of the rigid upper face, pixels.
        unit:   pixels between the outer eye corners.
        seen:   (T,) bool.
    Returns:
        (T,) eye distances a frame; infinite where one of the five frames around is not seen, and at both
        ends.
    """
    smooth = _smooth(points[..., :2], 5)
    return _over_four(smooth, seen, lambda change: change.norm(dim=-1).mean(1)) / unit


def mouth_speed(opening: Tensor, seen: Tensor) -> Tensor:
    """How fast the opening (T,) changes, a frame, in its own unit; infinite as in :func:`head_speed`."""
    return _over_four(_smooth(opening[:, None], 3)[:, 0], seen, torch.abs)


def still_frames(points: Tensor, unit: float, seen: Tensor) -> Tensor:
    """(T - 2,) bool: inner frames whose head is still, or the ``FEWEST`` stillest where there are fewer of
    them."""
    speed = head_speed(points, unit, seen)[1:-1]
    still = speed < STILL_HEAD
    if int(still.sum()) < FEWEST and int(torch.isfinite(speed).sum()):
        limit = speed.sort().values[min(FEWEST, int(torch.isfinite(speed).sum())) - 1]
        still = speed <= limit
    return still


def jitter_ratio(points: Tensor, raw: Tensor, frames: Tensor) -> float:
    """Mean second difference of points over that of the raw ones, both (T, K, 2 or more), in chosen inner
    frames (T - 2,)."""
    if not bool(frames.any()):
        return float("nan")
    return float(
        second_difference(points)[frames].mean() / second_difference(raw)[frames].mean().clamp_min(1e-9)
    )


def _smooth(values: Tensor, width: int) -> Tensor:
    flat = values.flatten(1).T[None]
    return functional.avg_pool1d(flat, width, 1, width // 2, count_include_pad=False)[0].T.reshape(
        values.shape
    )


def _over_four(values: Tensor, seen: Tensor, length) -> Tensor:
    speed = values.new_full((len(values),), float("inf"))
    if len(values) < 5:
        return speed
    whole = torch.stack([seen[k : len(seen) - 4 + k] for k in range(5)]).all(0)
    speed[2:-2] = torch.where(whole, length(values[4:] - values[:-4]) / 4, float("inf"))
    return speed
