"""From pixels to latents at H/4: two strided convolutions each, as in the paper."""

from __future__ import annotations

from torch import Tensor, nn


class LatentEncoder(nn.Module):
    """Two strided convolutions from (N, C, H, W) to (N, width, H/4, W/4).

    Paper: 3.2. Used twice: E_ref on drawn geometry (PNCC), E_tex on reference pixels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width // 2, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.act = nn.SiLU()

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, width, H/4, W/4)."""
        return self.act(self.second(self.act(self.first(image * 2.0 - 1.0))))
