"""How a person speaks: S of the paper, the statistics over time of expression-only vertices (paper 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from ..checks import check_range
from ..errors import FaceError, FaceModelMismatchError, ShapeError
from ..geometry.face_model import FaceModel
from ..types import FaceGeometry, StyleEmbedding
from .timeline import at_model_rate

if TYPE_CHECKING:
    from .networks import SpeechNetworks

VERTEX_UNIT = 0.02  # canonical units; about what a lip moves, so that the encoder sees numbers near one
BLOCK = 3000  # frames whose vertices are in memory at once
MIN_STYLE_FRAMES = 12  # half a second at 25 fps; fewer say nothing about how somebody speaks


class StyleEncoder(nn.Module):
    """E_vtx, mean and standard deviation over time, and one fully connected layer.

    Paper: 3.1. Deviation: E_vtx sees the lower-face vertices only, because only these are generated.
    Args:
        vertices: L, number of lower-face vertices.
        width:    D.
    """

    def __init__(self, vertices: int, width: int) -> None:
        super().__init__()
        self.vertex_encoder = nn.Linear(3 * vertices, width)
        self.project = nn.Linear(2 * width, width)
        self.register_buffer("average", torch.zeros(width))

    def encode_vertices(self, offsets: Tensor) -> Tensor:
        """E_vtx: (..., L, 3) offsets from the mean face, canonical units, to (..., D)."""
        return self.vertex_encoder(rearrange(offsets, "... l c -> ... (l c)") / VERTEX_UNIT)

    def forward(self, offsets: Tensor, weight: Tensor | None = None) -> Tensor:
        """S of clips.

        Args:
            offsets: (B, T, L, 3) expression-only offsets of the lower face.
            weight:  (B, T) of frames that count; None counts all.
        Returns:
            (B, D).
        """
        encoded = self.encode_vertices(offsets)
        weight = torch.ones_like(encoded[..., 0]) if weight is None else weight
        weight = rearrange(weight / weight.sum(1, keepdim=True).clamp(min=1e-6), "b t -> b t 1")
        mean = (encoded * weight).sum(1)
        return self.of_statistics(mean, ((encoded - mean[:, None]).square() * weight).sum(1))

    def of_statistics(self, mean: Tensor, variance: Tensor) -> Tensor:
        """S of the mean and variance over time of E_vtx, (B, D) each."""
        return self.project(torch.cat((mean, variance.clamp(min=1e-8).sqrt()), dim=-1))


@torch.inference_mode()
def extract_style(
    geometries: FaceGeometry | Sequence[FaceGeometry],
    networks: "SpeechNetworks",
    face_model: FaceModel,
    *,
    name: str,
    thumbnail: bytes = b"",
) -> StyleEmbedding:
    """The speaking style of one person from one or several clips.

    Paper: 3.1. Only frames with a usable face count; clips are read at 25 fps whatever their rate, one after
        the other.
    Args:
        geometries: fitted clips of one person.
        name:       shown to users.
        thumbnail:  JPEG bytes, may be empty.
    Raises:
        FaceModelMismatchError: a geometry belongs to another face model than the networks.
        FaceError: fewer than half a second of usable frames.
    """
    clips = [geometries] if isinstance(geometries, FaceGeometry) else list(geometries)
    networks.check_face_model(face_model)
    pieces = []
    for clip in clips:
        networks.check_geometry(clip)
        expression, usable = at_model_rate(clip)
        pieces.append(expression[usable, : face_model.lower_count])
    expression = torch.cat(pieces)
    if len(expression) < MIN_STYLE_FRAMES:
        raise FaceError(
            f"Only {len(expression)} frames show a usable face but a style needs at least "
            f"{MIN_STYLE_FRAMES}; use a longer or clearer clip."
        )
    device = networks.lip_sync.basis.device
    encoder, blocks = networks.lip_sync.style, expression.split(BLOCK)
    if len(blocks) == 1:
        vector = encoder(networks.lip_sync.offsets(expression.to(device)[None]))[0]
    else:  # the same in two passes over the blocks, for the vertices of an hour do not fit into memory
        share = [len(block) / len(expression) for block in blocks]

        def encoded(block: Tensor) -> Tensor:
            return encoder.encode_vertices(networks.lip_sync.offsets(block.to(device)))  # (n, D)

        mean = sum(encoded(block).mean(0) * s for block, s in zip(blocks, share, strict=True))
        variance = sum(
            (encoded(block) - mean).square().mean(0) * s for block, s in zip(blocks, share, strict=True)
        )
        vector = encoder.of_statistics(mean[None], variance[None])[0]
    return StyleEmbedding(
        vector.cpu().float(), name, face_model.sha256, networks.sha256, clips[0].source, thumbnail
    )


def style_vector(style: StyleEmbedding | None, networks: "SpeechNetworks", strength: float = 1.0) -> Tensor:
    """(D,) that drives the network: 0 is the average speaker, 1 the person, 2 exaggerates; None is the
    average speaker.

    Raises:
        FaceModelMismatchError: the style was made by other networks.
        ShapeError: strength is outside [0, 2].
    """
    check_range("style strength", strength, 0.0, 2.0)
    average = networks.lip_sync.style.average
    if style is None:
        return average
    networks.check_style(style)
    return average + strength * (style.vector.to(average) - average)


def mix_styles(
    styles: Sequence[StyleEmbedding], weights: Sequence[float], name: str = "mix"
) -> StyleEmbedding:
    """A style between styles.

    Args:
        styles:  made by the same networks.
        weights: one each, not negative, not all zero; scaled to sum to one.
    Raises:
        ShapeError: counts differ or the weights are not usable.
        FaceModelMismatchError: the styles come from different networks or face models.
    """
    if not styles or len(styles) != len(weights) or min(weights) < 0 or sum(weights) <= 0:
        raise ShapeError(
            f"mixing {len(styles)} styles with weights {list(weights)}; expected one weight a style, "
            "none negative, at least one positive."
        )
    check_same_maker(styles)
    share = torch.tensor(list(weights), dtype=torch.float32) / sum(weights)
    vector = (torch.stack([s.vector for s in styles]) * share[:, None]).sum(0)
    return StyleEmbedding(vector, name, styles[0].face_model, styles[0].network)


def style_distance(first: StyleEmbedding, second: StyleEmbedding) -> float:
    """Euclidean distance of two styles made by the same networks. Raises FaceModelMismatchError otherwise."""
    check_same_maker([first, second])
    return float((first.vector - second.vector).norm())


def check_same_maker(styles: Sequence[StyleEmbedding]) -> None:
    """Raise FaceModelMismatchError unless the styles are comparable."""
    if len({(style.face_model, style.network) for style in styles}) > 1:
        raise FaceModelMismatchError(
            "The styles were made by different speech weights or face models; extract them again."
        )
