"""The geometry-aware texture decoder: latents and the target's PNCC back to pixels.

It begins as the identity: its last layer starts at zero, so before training the output is the blended
reference pixels, and training only learns what to add to them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .pooling import mean_pool

REACH = (
    4  # latents around a pixel that its residual depends on: three of the convolutions at H/4, one to resize
)


class TextureDecoder(nn.Module):
    """Convolutions over latents with the target geometry concatenated, then one upsampling layer (paper 3.2).

    Deviation: the blended reference pixels are given beside the latent and the output is added to them; it
    ends at half the size, so that it brings light and colour and leaves the references' finest detail alone.
    """

    def __init__(self, features: int, width: int, stride: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv2d(
            features + 3 * stride * stride + 4, width, 1
        )  # a latent's own pixels are all among its channels
        self.middle = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.leave = nn.Sequential(nn.Conv2d(width, 3 * 4, 3, padding=1), nn.PixelShuffle(2))
        self.act = nn.SiLU()
        self.stride = stride
        nn.init.zeros_(self.leave[0].weight)
        nn.init.zeros_(self.leave[0].bias)

    def forward(self, latent: Tensor, pixels: Tensor, geometry: Tensor) -> Tensor:
        """What to add to the blended pixels.

        Args:
            latent:   (B, features, H/4, W/4) attended texture.  pixels: (B, 3, H, W) blended references in
                [0, 1].
            geometry: (B, 4, H, W) the target's PNCC and lip mask.
        Returns:
            (B, 3, H, W), 0 before training.
        """
        small = mean_pool(geometry, self.stride)
        colours = F.pixel_unshuffle(pixels * 2.0 - 1.0, self.stride)
        x = torch.cat([latent, colours, small], dim=1).contiguous(
            memory_format=torch.channels_last
        )  # faster on a CPU
        x = self.act(self.enter(x))
        x = self.act(x + self.middle(x))
        return F.interpolate(self.leave(x), pixels.shape[-2:], mode="bilinear", align_corners=False)
