"""How a person speaks, S of the paper (3.1): extracted from clips, dialled in strength, mixed with others.

The network that makes S of vertices is ``network.StyleEncoder``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import check_range
from ..errors import FaceError, FaceModelMismatchError, ShapeError
from ..geometry.face_model import FaceModel
from ..types import FaceGeometry, StyleEmbedding
from .network import LipSyncNetwork
from .networks import SpeechNetworks
from .timeline import at_model_rate

BLOCK = 3000  # frames whose vertices are in memory at once
MIN_STYLE_FRAMES = 12  # half a second at 25 fps; fewer say nothing about how somebody speaks


@torch.inference_mode()
def extract_style(
    geometries: FaceGeometry | Sequence[FaceGeometry],
    networks: SpeechNetworks,
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
    lower_of_clips = []
    for clip in clips:
        networks.check_geometry(clip)
        expression, usable = at_model_rate(clip)
        lower_of_clips.append(expression[usable, : face_model.lower_count])
    lower = torch.cat(lower_of_clips)  # (T, E_low)
    if len(lower) < MIN_STYLE_FRAMES:
        raise FaceError(
            f"Only {len(lower)} frames show a usable face but a style needs at least {MIN_STYLE_FRAMES}; "
            "use a longer or clearer clip."
        )
    vector = _encode_style(lower, networks.lip_sync)
    return StyleEmbedding(
        vector.cpu().float(), name, face_model.sha256, networks.sha256, clips[0].source, thumbnail
    )


def _encode_style(expression: Tensor, network: LipSyncNetwork) -> Tensor:
    """(T, E_low) lower expression to S, (D,); the vertices of a long clip are made BLOCK frames at a time."""
    encoder, device, blocks = network.style, network.basis.device, expression.split(BLOCK)
    if len(blocks) == 1:
        return encoder(network.offsets(expression.to(device)[None]))[0]

    def encoded(block: Tensor) -> Tensor:
        return encoder.encode_vertices(network.offsets(block.to(device)))  # (n, D)

    mean = variance = torch.zeros_like(encoder.average)  # (D,)
    for block in blocks:
        mean = mean + encoded(block).mean(0) * (len(block) / len(expression))
    for block in blocks:
        variance = variance + (encoded(block) - mean).square().mean(0) * (len(block) / len(expression))
    return encoder.of_statistics(mean[None], variance[None])[0]


def style_vector(style: StyleEmbedding | None, networks: SpeechNetworks, strength: float = 1.0) -> Tensor:
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
            f"mixing {len(styles)} styles with weights {list(weights)}; expected one weight a style, none "
            "negative, at least one positive."
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
