"""The yardstick of speed: a generator of the published size of Wav2Lip's, with random weights. It is never
used to make pictures.

Prajwal et al. 2020, "A Lip Sync Expert Is All You Need": a face encoder, an audio encoder and a decoder with
skip connections, 96 x 96 pixels, 36.3 M parameters. Only the layer sizes are taken from the publication.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FACE_SIZE = 96
MEL_SIZE = (80, 16)  # mel bands, steps: 0.2 s of sound
# one row a resolution: channels in, channels out, kernel, stride, padding, residual layers that follow
FACE_ROWS = (
    (6, 16, 7, 1, 3, 0),
    (16, 32, 3, 2, 1, 2),
    (32, 64, 3, 2, 1, 3),
    (64, 128, 3, 2, 1, 2),
    (128, 256, 3, 2, 1, 2),
    (256, 512, 3, 2, 1, 1),
)
AUDIO_ROWS = (
    (1, 32, 3, 1, 1, 2),
    (32, 64, 3, (3, 1), 1, 2),
    (64, 128, 3, 3, 1, 2),
    (128, 256, 3, (3, 2), 1, 1),
    (256, 512, 3, 1, 0, 0),
)
DECODER_ROWS = (
    (1024, 512, 1, 0, 1),
    (1024, 512, 2, 1, 2),
    (768, 384, 2, 1, 2),
    (512, 256, 2, 1, 2),
    (320, 128, 2, 1, 2),
    (160, 64, 2, 1, 2),
)


class NormedConvolution(nn.Module):
    """Convolution, batch norm, optional residual, ReLU; ``up`` makes it a transposed one."""

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int,
        stride: int | tuple[int, int],
        padding: int,
        residual: bool = False,
        up: bool = False,
    ) -> None:
        super().__init__()
        convolution = (
            nn.ConvTranspose2d(inner, outer, kernel, stride, padding, output_padding=int(stride == 2))
            if up
            else nn.Conv2d(inner, outer, kernel, stride, padding)
        )
        self.layers = nn.Sequential(convolution, nn.BatchNorm2d(outer))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return torch.relu(y + x if self.residual else y)


def _row(
    inner: int, outer: int, kernel: int, stride: int | tuple[int, int], padding: int, residuals: int
) -> nn.Sequential:
    first = NormedConvolution(inner, outer, kernel, stride, padding)
    return nn.Sequential(
        first, *(NormedConvolution(outer, outer, 3, 1, 1, residual=True) for _ in range(residuals))
    )


class Wav2LipSizedGenerator(nn.Module):
    """Faces (B, 6, 96, 96) (lower half masked, and a reference) and mel (B, 1, 80, 16) to faces (B, 3, 96,
    96) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        last = nn.Sequential(NormedConvolution(512, 512, 3, 1, 0), NormedConvolution(512, 512, 1, 1, 0))
        self.face_encoder = nn.ModuleList([*(_row(*row) for row in FACE_ROWS), last])
        self.audio_encoder = nn.Sequential(
            *(_row(*row) for row in AUDIO_ROWS), NormedConvolution(512, 512, 1, 1, 0)
        )
        self.decoder = nn.ModuleList([NormedConvolution(512, 512, 1, 1, 0)])
        for inner, outer, stride, padding, residuals in DECODER_ROWS:
            layers = [NormedConvolution(inner, outer, 3, stride, padding, up=True)]
            layers += [NormedConvolution(outer, outer, 3, 1, 1, residual=True) for _ in range(residuals)]
            self.decoder.append(nn.Sequential(*layers))
        self.output = nn.Sequential(NormedConvolution(80, 32, 3, 1, 1), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, faces: Tensor, mel: Tensor) -> Tensor:
        kept = []
        for layer in self.face_encoder:
            faces = layer(faces)
            kept.append(faces)
        x = self.audio_encoder(mel)  # (B, 512, 1, 1)
        for layer in self.decoder:
            x = torch.cat([layer(x), kept.pop()], dim=1)
        return self.output(x)
