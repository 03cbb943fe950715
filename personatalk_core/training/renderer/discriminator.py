"""The adversarial term: a small network that learns to tell rendered mouths from filmed ones, patch by
patch."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

MARGIN = 12  # pixels around the lip mask that the discriminator also sees
LEAST_SIDE = 48  # pixels of the smallest picture it is shown


class PatchDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] to scores (B, 1, H/8, W/8): high where a patch looks filmed."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 2 * width]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [
                nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(
            *layers, nn.utils.parametrizations.spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))
        )

    def forward(self, picture: Tensor) -> Tensor:
        return self.layers(picture * 2.0 - 1.0)


def mouth_cut(lip: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the first picture's lip mask (B, 1, H, W) and MARGIN around it, at least LEAST_SIDE
    each."""
    inside = lip[0, 0] > 0
    sides = []
    for axis in (1, 0):
        places = inside.any(dim=axis).nonzero()[:, 0]
        limit = inside.shape[1 - axis]
        middle = int(places.float().mean()) if len(places) else limit // 2
        half = max(LEAST_SIDE // 2, (int(places[-1] - places[0]) // 2 + MARGIN) if len(places) else 0)
        start = max(0, min(middle - half, limit - 2 * half))
        sides.append(slice(start, min(limit, start + 2 * half)))
    return sides[0], sides[1]


def gan_loss(discriminator: PatchDiscriminator, image: Tensor, truth: Tensor) -> Tensor:
    """Hinge loss that teaches the discriminator; nothing flows back into the picture."""
    return F.relu(1.0 - discriminator(truth)).mean() + F.relu(1.0 + discriminator(image.detach())).mean()


def generator_loss(discriminator: PatchDiscriminator, image: Tensor) -> Tensor:
    """Hinge loss that teaches the renderer: minus the mean score."""
    return -discriminator(image).mean()
