"""SyncNet (Chung and Zisserman 2016): the architecture, so that the published weights can be used where a
user has them.

They come as a pickle, which this project never opens. Convert them once, elsewhere: load the state dictionary
with ``weights_only=True`` and save it with ``safetensors.torch.save_file``; names stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import check_shape
from ...config import MODEL_FPS, SAMPLE_RATE
from ...errors import ShapeError, WeightsError

FACE_SIZE = 224
WINDOW = 5  # video frames in one look
MFCC_STEP = 100 // MODEL_FPS  # sound frames a video frame
MFCC_WINDOW = 20
MAX_SHIFT = 15


def _stage(
    make: type[nn.Conv2d] | type[nn.Conv3d],
    inner: int,
    outer: int,
    kernel: Any,
    stride: Any = 1,
    padding: Any = 0,
) -> list[nn.Module]:
    norm = nn.BatchNorm2d if make is nn.Conv2d else nn.BatchNorm3d
    return [make(inner, outer, kernel, stride, padding), norm(outer), nn.ReLU(inplace=True)]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """Two streams to vectors of 1024 that are near where mouth and sound belong together. Attribute names are
    the published ones."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_stage(nn.Conv2d, 1, 64, 3, 1, 1),
            nn.MaxPool2d(1, 1),
            *_stage(nn.Conv2d, 64, 192, 3, 1, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_stage(nn.Conv2d, 192, 384, 3, 1, 1),
            *_stage(nn.Conv2d, 384, 256, 3, 1, 1),
            *_stage(nn.Conv2d, 256, 256, 3, 1, 1),
            nn.MaxPool2d(3, 2),
            *_stage(nn.Conv2d, 256, 512, (5, 4)),
        )
        self.netcnnlip = nn.Sequential(
            *_stage(nn.Conv3d, 3, 96, (5, 7, 7), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_stage(nn.Conv3d, 96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_stage(nn.Conv3d, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_stage(nn.Conv3d, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_stage(nn.Conv3d, 256, 256, (1, 3, 3), 1, (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_stage(nn.Conv3d, 256, 512, (1, 6, 6)),
        )
        self.netfcaud, self.netfclip = _head(), _head()

    def hear(self, mfcc: Tensor) -> Tensor:
        """(N, 1, 13, 20) to (N, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def see(self, faces: Tensor) -> Tensor:
        """(N, 3, 5, 224, 224) BGR in 0..255 to (N, 1024)."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def load_syncnet(path: Path) -> SyncNet:
    """Load the published parameters from a safetensors file. Raises WeightsError when it cannot be read or
    does not fit."""
    network = SyncNet().eval()
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); convert SyncNet's published weights again."
        ) from error
    # an unused third head
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("netfcspk")}
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(tensors)) + sorted(
        n for n in expected if n in tensors and expected[n].shape != tensors[n].shape
    )
    if wrong:
        raise WeightsError(
            f"{path} does not fit SyncNet: {', '.join(wrong[:3])}; use the published syncnet_v2 parameters."
        )
    network.load_state_dict(tensors)
    return network.requires_grad_(False)


def mfcc(samples: Tensor) -> Tensor:
    """13 cepstral coefficients at 100 frames/s: (S,) at 16 kHz to (13, N). 25 ms windows, 26 mel bands,
    pre-emphasis 0.97, liftered."""
    check_shape("samples", samples, "S")
    samples = 32768.0 * samples.double()  # the published front end saw 16-bit integers
    signal = np.append(samples[:1].numpy(), samples[1:].numpy() - 0.97 * samples[:-1].numpy())
    length, step = SAMPLE_RATE // 40, SAMPLE_RATE // 100
    count = 1 + max(0, -(-(len(signal) - length) // step))
    signal = np.append(signal, np.zeros(max(0, (count - 1) * step + length - len(signal))))
    frames = np.stack([signal[i * step : i * step + length] for i in range(count)])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512  # (N, 257)
    energy = np.maximum(power.sum(1), np.finfo(float).eps)
    bands = np.maximum(power @ _mel_filters().T, np.finfo(float).eps)
    coefficients = np.asarray(dct(np.log(bands), type=2, axis=1, norm="ortho"))[:, :13]
    coefficients *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    coefficients[:, 0] = np.log(energy)
    return torch.from_numpy(coefficients.T.astype(np.float32))


def _mel_filters(count: int = 26) -> np.ndarray:
    """(26, 257) triangles, evenly spaced in mel from 0 to 8 kHz."""
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), count + 2)
    edge = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(257)
    rise = (bins - edge[:-2, None]) / np.maximum(edge[1:-1] - edge[:-2], 1)[:, None]
    fall = (edge[2:, None] - bins) / np.maximum(edge[2:] - edge[1:-1], 1)[:, None]
    inside = (bins >= edge[:-2, None]) & (bins < edge[2:, None])
    return np.where(inside, np.where(bins < edge[1:-1, None], rise, fall), 0.0)


@torch.inference_mode()
def sync_score(network: SyncNet, crops: Tensor, samples: Tensor, batch: int = 16) -> dict[str, float]:
    """SyncNet's confidence and offset.

    Paper: 4.2 (SyncScore). Faces are shown as 224 x 224 crops at 25 fps; distances are averaged over the clip
    for shifts of up to 15 frames; the confidence is their median minus their minimum.
    Args:
        crops:   (T, 3, H, W) RGB in [0, 1] at 25 fps, T >= 5.
        samples: (S,) at 16 kHz.
    Returns:
        sync_score (confidence), sync_distance (at the best shift), sync_offset (frames, positive: the mouth
        is late).
    Raises:
        ShapeError: fewer than five frames in common.
    """
    check_shape("crops", crops, "T", 3, "H", "W")
    sound = mfcc(samples)
    count = min(len(crops) - WINDOW + 1, (sound.shape[1] - MFCC_WINDOW) // MFCC_STEP + 1)
    if count < 1:
        raise ShapeError(
            f"SyncNet needs {WINDOW} frames with their sound but got {len(crops)} frames and "
            f"{sound.shape[1] / 100:.2f} s."
        )
    faces = 255.0 * F.interpolate(crops.flip(1), (FACE_SIZE, FACE_SIZE), mode="bilinear", antialias=True)
    seen, heard = [], []
    for first in range(0, count, batch):
        rows = range(first, min(first + batch, count))
        seen.append(
            network.see(torch.stack([rearrange(faces[i : i + WINDOW], "t c h w -> c t h w") for i in rows]))
        )
        heard.append(
            network.hear(
                torch.stack([sound[None, :, i * MFCC_STEP : i * MFCC_STEP + MFCC_WINDOW] for i in rows])
            )
        )
    lips, voice = torch.cat(seen), torch.cat(heard)
    padded = F.pad(voice, (0, 0, MAX_SHIFT, MAX_SHIFT))
    distances = torch.stack(
        [F.pairwise_distance(lips[i : i + 1], padded[i : i + 2 * MAX_SHIFT + 1]) for i in range(count)]
    ).mean(0)
    best = int(distances.argmin())
    return {
        "sync_score": float(distances.median() - distances[best]),
        "sync_distance": float(distances[best]),
        "sync_offset": float(MAX_SHIFT - best),
    }
