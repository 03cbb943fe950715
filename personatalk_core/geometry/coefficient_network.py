"""The off-the-shelf coefficient network of the paper (Deng et al. 2019b): a picture of a face to 257 numbers.

Paper: 3.1, "we first use an off-the-shelf network to predict the initial coefficients". Its weights may not
be shipped; a user converts the published ``epoch_20.pth`` once, outside this package, which never unpickles:

    python -c "import torch; from safetensors.torch import save_file; \\
      s = torch.load('epoch_20.pth', map_location='cpu', weights_only=True)['net_recon']; \\
      save_file({k: v.contiguous() for k, v in s.items()}, 'deng.safetensors')"

The network is a ResNet-50 with one 1x1 convolution each for identity 80, expression 64, texture 80, angles 3,
light 27, translation 2 and depth 1, read from a 224x224 crop that five points align to the mean face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from einops import einsum, rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..checks import check_finite, check_shape
from ..errors import WeightsError
from ..weights.checkpoint import Checkpoint, load_into, sha256_of
from .camera import axis_angle, rotation_matrix, scale_and_shift
from .face_model import FaceModel
from .initialisation import Coefficients, initial_coefficients

CROP = 224  # pixels of the crop's side
PIXELS_A_UNIT = 102.0  # in the crop, of the five points' unit (10 cm)
HEADS = {"identity": 80, "expression": 64, "texture": 80, "angle": 3, "light": 27, "shift": 2, "depth": 1}
# width, count and stride of ResNet-50's four stages
BLOCKS = (
    (64, 3, 1),
    (128, 4, 2),
    (256, 6, 2),
    (512, 3, 2),
)
# Eye centres, tip of the nose and mouth corners of the mean face of BFM09, in 10 cm: x to the image's right,
# y up, z to the viewer
FIVE_POINTS = (
    (-0.311, 0.290, 0.133),
    (0.311, 0.290, 0.133),
    (0.0, -0.046, 0.552),
    (-0.250, -0.381, 0.223),
    (0.250, -0.381, 0.223),
)
# MediaPipe landmarks whose means are those points
FIVE_LANDMARKS = (
    (33, 133),
    (362, 263),
    (4,),
    (61,),
    (291,),
)
BATCH = 16


@dataclass(frozen=True, eq=False)
class NetworkCoefficients:
    """identity (T, 80) and expression (T, 64) of BFM09 in standard deviations; angle (T, 3): pitch, yaw, roll
    in radians."""

    identity: Tensor
    expression: Tensor
    angle: Tensor


class Bottleneck(nn.Module):
    """Residual block of ResNet-50, its stride in the 3x3 convolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        change = stride != 1 or width_in != out
        self.downsample = (
            nn.Sequential(nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if change
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) to (B, 4 width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


class Backbone(nn.Module):
    """ResNet-50 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = 64
        for number, (width, count, stride) in enumerate(BLOCKS, 1):
            blocks = [
                Bottleneck(before if k == 0 else 4 * width, width, stride if k == 0 else 1)
                for k in range(count)
            ]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 2048, 1, 1)."""
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for number in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3), keepdim=True)


class CoefficientNetwork(nn.Module):
    """Names of parameters are those of the published checkpoint's ``net_recon``."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.final_layers = nn.ModuleList(nn.Conv2d(4 * BLOCKS[-1][0], count, 1) for count in HEADS.values())

    def forward(self, crops: Tensor) -> NetworkCoefficients:
        """Crops (B, 3, 224, 224) RGB in [0, 1] to coefficients."""
        check_shape("crops", crops, "B", 3, CROP, CROP)
        features = self.backbone(crops)
        found = {
            name: layer(features).flatten(1) for name, layer in zip(HEADS, self.final_layers, strict=True)
        }
        return NetworkCoefficients(found["identity"], found["expression"], found["angle"])


def load_coefficient_network(path: Path, *, sha256: str | None = None) -> CoefficientNetwork:
    """Load a converted checkpoint.

    Args:
        path:   safetensors with the tensors of ``net_recon``.
        sha256: what the file should hash to, if the user knows it.
    Raises:
        WeightsError: missing, a pickle, damaged, another hash, non-finite, or tensors of other names or
            shapes.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt", ".pkl"):
        raise WeightsError(
            f"{path.name} is a pickle, which can run any code when read; convert its 'net_recon' to "
            ".safetensors first, as personatalk_core/geometry/coefficient_network.py shows in one line."
        )
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; expected the converted coefficient network of Deng et al. there."
        )
    actual = sha256_of(path)
    if sha256 is not None and actual != sha256:
        raise WeightsError(
            f"{path} has sha256 {actual} but expected {sha256}; convert the published checkpoint again."
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); convert the published checkpoint again."
        ) from error
    network = CoefficientNetwork()
    # say nothing
    counters = {
        name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")
    }
    tensors = {name: value.float() for name, value in tensors.items() if name not in counters} | counters
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path} has non-finite values in '{name}'; convert the published checkpoint again."
            )
    return load_into(network, Checkpoint("coefficient_network", {}, tensors, actual), f"{path}")


def alignment_boxes(landmarks: Tensor) -> Tensor:
    """The squares that the network wants to see.

    Five landmarks give, by least squares under a scaled orthographic camera, the size of the face and where
    the mean face's origin lies; the crop is not turned.
    Args:
        landmarks: (T, 478, 3) image pixels.
    Returns:
        (T, 3) centre x, centre y and side in image pixels.
    """
    check_shape("landmarks", landmarks, "T", 478, 3)
    five = torch.stack(
        [landmarks[:, list(ids), :2].mean(1) for ids in FIVE_LANDMARKS], 1
    ).double()  # (T, 5, 2)
    known = torch.cat(
        [torch.tensor(FIVE_POINTS, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)], 1
    )  # (5, 4)
    solved = torch.linalg.pinv(known) @ five  # (T, 4, 2): three rows of the camera, then the origin
    scale = solved[:, :3].norm(dim=1).mean(1)  # (T,) pixels a unit
    return torch.cat([solved[:, 3], (CROP / PIXELS_A_UNIT * scale)[:, None]], 1).to(landmarks.dtype)


@torch.inference_mode()
def read_coefficients(
    network: CoefficientNetwork, crops: Iterable[np.ndarray], device: torch.device | str = "cpu"
) -> NetworkCoefficients:
    """Run the network over crops (224, 224, 3) uint8 RGB, in batches; the results are on the CPU."""
    batches = [network(_as_input(batch, device)) for batch in _batches(crops)]
    joined = {
        name: torch.cat([getattr(batch, name) for batch in batches]).cpu()
        for name in ("identity", "expression", "angle")
    }
    return NetworkCoefficients(**joined)


def _batches(crops: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    crops = iter(crops)
    while batch := list(islice(crops, BATCH)):
        yield batch


def _as_input(batch: list[np.ndarray], device: torch.device | str) -> Tensor:
    return rearrange(torch.from_numpy(np.stack(batch)).to(device).float() / 255, "b h w c -> b c h w")


def speaks_of(face_model: FaceModel) -> bool:
    """Whether the network's identity and expression are this face model's: BFM09, its expression split in
    lower and upper."""
    return (
        face_model.identity_count == HEADS["identity"]
        and face_model.expression_count == 2 * HEADS["expression"]
    )


def starting_coefficients(found: NetworkCoefficients, points: Tensor, face_model: FaceModel) -> Coefficients:
    """Where to start the fitting of frames that show a face.

    Args:
        found:  the network's numbers for the T frames.
        points: (T, K, 3) landmarks of the face model's ``landmark_vertex``, image pixels.
    Returns:
        Coefficients of the T frames.
    Raises:
        ShapeError: another number of frames, or numbers that are not finite.
    """
    check_shape("angles of the network", found.angle, len(points), 3)
    for name in ("identity", "expression", "angle"):
        check_finite(f"{name} of the network", getattr(found, name))
    rotation = euler_rotation(found.angle)
    if not speaks_of(face_model):
        return initial_coefficients(points, face_model, rotation=rotation)
    identity = found.identity.mean(0)
    expression = torch.cat([found.expression, found.expression], 1)
    vertex = face_model.landmark_vertex
    shape = face_model.mean[vertex] + einsum(
        identity, face_model.identity_basis[:, vertex], "a, a k c -> k c"
    )
    shape = shape + einsum(expression, face_model.expression_basis[:, vertex], "t e, e k c -> t k c")
    scale, shift = scale_and_shift(
        shape, points * points.new_tensor([1, -1, 1]), rotation, face_model.rigid_weight[vertex] + 1e-3
    )
    return Coefficients(
        identity, expression, axis_angle(rotation), shift[:, :2] * shift.new_tensor([1, -1]), scale
    )


def euler_rotation(angle: Tensor) -> Tensor:
    """(T, 3) pitch, yaw, roll to (T, 3, 3): first about x, then y, then z, of column vectors."""
    axes = torch.eye(3, dtype=angle.dtype, device=angle.device)
    about_x, about_y, about_z = (rotation_matrix(angle[:, k : k + 1] * axes[k]) for k in range(3))
    return about_z @ about_y @ about_x
