"""Stylised audio drives the person's template face: lip-synced expression for every frame (paper 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from ..checks import check_shape
from ..config import SAMPLES_PER_FRAME
from ..errors import ShapeError
from ..geometry.face_model import FaceModel
from ..types import Cache, FaceGeometry, OnProgress, StyleEmbedding, Timeline
from .audio_encoder import Samples, clip_statistics, samples_between
from .calibration import StyleCalibration
from .local_attention import LocalAttention
from .style import VERTEX_UNIT, StyleEncoder, style_vector
from .stylized_audio import StylizedAudio
from .timeline import frames_to_cover, interpolate_frames

if TYPE_CHECKING:
    from .networks import SpeechNetworks

INNER_FRAMES = 500  # frames kept of each window: 20 s, which bounds memory at any length
OPEN_REACH_SAMPLES = 4 * 16_000  # margin for a backbone that attends to its whole window


@dataclass(frozen=True)
class LipSyncConfig:
    """Sizes of the network and the face model it belongs to.

    vertices: L lower-face vertices.  expression: lower expression coefficients.  width: D.  layers:
    self-attention layers.  reach: frames to either side a frame attends to, in each layer.  face_model:
    sha256.  reference: windows of speech that styles are calibrated on, of ``reference_frames`` each; 0:
    styles are not calibrated.
    """

    vertices: int
    expression: int
    face_model: str
    width: int = 128
    heads: int = 4
    layers: int = 2
    reach: int = 12
    dropout: float = 0.2
    reference: int = 0
    reference_frames: int = 75

    @property
    def margin(self) -> int:
        """Frames to either side that can change a frame's result, the audio encoder aside."""
        return (self.layers + 1) * self.reach


class SelfAttentionLayer(nn.Module):
    """Pre-norm local self-attention and a feed-forward part."""

    def __init__(self, config: LipSyncConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = LocalAttention(width, config.heads, config.reach)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y))
        return x + self.dropout(self.outer(F.gelu(self.inner(self.forward_norm(x)))))


class LipSyncNetwork(nn.Module):
    """Audio features, a style and a template face to lower expression coefficients.

    Paper: 3.1. Deviations: attention over the single template key is constant, so the template enters as its
    value projection; D_vtx is a fully connected layer whose second factor is the face model's lower
    expression basis, so its vertices always are a face and its coefficients are known; S scales and shifts
    the last features, which lets a person's amplitude and rest pose through without attention having to carry
    them.
    """

    def __init__(self, config: LipSyncConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("basis", torch.zeros(config.expression, config.vertices, 3))
        self.style = StyleEncoder(config.vertices, width)
        self.stylized_audio = StylizedAudio(width, config.heads, config.reach, config.dropout)
        self.template = nn.Linear(width, width)
        self.layers = nn.ModuleList(SelfAttentionLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.amplitude, self.rest = nn.Linear(width, width), nn.Linear(width, config.expression)
        self.vertex_decoder = nn.Linear(width, config.expression)
        for zero in (self.amplitude.weight, self.amplitude.bias, self.rest.weight, self.rest.bias):
            nn.init.zeros_(zero)
        sizes = (width, config.expression, config.reference, config.reference_frames)
        self.calibration = StyleCalibration(*sizes) if config.reference else None

    def offsets(self, expression: Tensor) -> Tensor:
        """(..., E_low) lower coefficients to (..., L, 3) offsets of the lower-face vertices, canonical
        units."""
        return einsum(expression, self.basis, "... e, e l c -> ... l c")

    def forward(self, audio: Tensor, style: Tensor, template: Tensor) -> Tensor:
        """Lower expression coefficients.

        Args:
            audio:    (B, T, D) from the audio encoder.
            style:    (B, D).
            template: (B, L, 3) offsets of the person's lower face at rest from the mean face.
        Returns:
            (B, T, E_low) in standard deviations of the face model.
        """
        x = self.stylized_audio(audio, style)
        x = x + rearrange(self.template(self.style.encode_vertices(template)), "b d -> b 1 d")
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x) * (1 + rearrange(self.amplitude(style), "b d -> b 1 d"))
        return self.vertex_decoder(x) + rearrange(self.rest(style), "b e -> b 1 e")


def network_for(face_model: FaceModel, **sizes: int | float) -> LipSyncNetwork:
    """A new network for a face model, its vertex encoder started as the inverse of the expression basis."""
    ids = face_model.lower_vertices
    config = LipSyncConfig(
        vertices=len(ids), expression=face_model.lower_count, face_model=face_model.sha256, **sizes
    )
    network = LipSyncNetwork(config)
    network.basis.copy_(face_model.expression_basis[: face_model.lower_count, ids])
    flat = rearrange(network.basis, "e l c -> e (l c)")
    with torch.no_grad():
        rows = min(config.expression, config.width)
        network.style.vertex_encoder.weight.mul_(0.1)
        network.style.vertex_encoder.weight[:rows] = VERTEX_UNIT * torch.linalg.pinv(flat).T[:rows]
        network.style.vertex_encoder.bias.zero_()
    return network


def template_offsets(identity: Tensor, face_model: FaceModel) -> Tensor:
    """(A,) identity to (L, 3): the lower face at rest, {alpha, 0, 0}, as offsets from the mean face."""
    return einsum(identity, face_model.identity_basis[:, face_model.lower_vertices], "a, a l c -> l c")


@torch.inference_mode()
def predict_expression(
    samples: Samples,
    frames: int,
    style: Tensor,
    template: Tensor,
    networks: "SpeechNetworks",
    *,
    inner_frames: int = INNER_FRAMES,
    on_progress: OnProgress | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """Lower expression at 25 fps for speech of any length, in overlapping windows whose inner parts are kept.

    Windows begin on the encoder's own grid and their margin covers everything that can reach the inner part,
    so with the Moonshine backbone the result does not depend on ``inner_frames``. The style's calibration
    comes last.

    Args:
        samples:  (S,) at 16 kHz; silence is assumed around it.
        frames:   T; frame t covers the samples [640 t, 640 (t + 1)).
        style:    (D,).
        template: (L, 3).
        cache:    keeps finished windows; those it holds already are not made again.
    Returns:
        (T, E_low).
    """
    encoder, lip_sync = networks.audio_encoder, networks.lip_sync
    device = lip_sync.basis.device
    style, template = (x.to(device=device, dtype=torch.float32) for x in (style, template))
    hop = encoder.backbone.hop
    reach = encoder.backbone.reach if encoder.backbone.reach is not None else OPEN_REACH_SAMPLES
    reach = (reach + 2 * hop) // hop * hop
    margin = lip_sync.config.margin
    statistics = clip_statistics(encoder, samples)
    parts = []
    for first in range(0, frames, inner_frames):
        kept, name = min(inner_frames, frames - first), f"speech-{first:07d}"
        earlier = cache.load(name) if cache is not None else None
        if (
            earlier is not None and len(earlier.tensors["expression"]) == kept
        ):  # a run with less memory kept shorter ones
            parts.append(earlier.tensors["expression"])
            continue
        begin, end = first - margin, first + kept + margin  # frames the network sees
        start = (begin * SAMPLES_PER_FRAME - reach) // hop * hop  # sample, on the encoder's grid
        window = _window(samples, start, end * SAMPLES_PER_FRAME + reach, device)
        features = encoder(window[None], begin * SAMPLES_PER_FRAME - start, end - begin, statistics)
        parts.append(lip_sync(features, style[None], template[None])[0, margin : margin + kept].cpu())
        if cache is not None:
            cache.save(name, {"expression": parts[-1]})
        if on_progress is not None:
            on_progress(first + kept, frames)
    spoken = torch.cat(parts)
    if lip_sync.calibration is None:
        return spoken
    correction, closing = lip_sync.calibration(lip_sync, style, template)
    return closing(correction(spoken))


def generate_geometry(
    geometry: FaceGeometry,
    samples: Samples,
    style: StyleEmbedding | None,
    networks: "SpeechNetworks",
    face_model: FaceModel,
    timeline: Timeline,
    *,
    strength: float = 1.0,
    inner_frames: int = INNER_FRAMES,
    on_progress: OnProgress | None = None,
    cache: Cache | None = None,
) -> FaceGeometry:
    """The target geometry G^tgt: pose and upper face of the source frames, lower face from the speech.

    Paper: 3.1 (lip-synced geometry generation), without the final projection.
    Args:
        geometry:   C_{1:T} of the source video.
        samples:    (S,) mono speech at 16 kHz; time 0 is the output's time 0. An array, a tensor, or a file
            read by slices.
        style:      how to speak; None is the average speaker.
        timeline:   which source frame is shown when; any frame rate.
        strength:   of the style, 0 to 2.
        inner_frames: length of the windows of speech at 25 fps; less memory, the same result.
        on_progress: frames done and in all, at 25 fps.
        cache:      keeps finished windows of speech.
    Returns:
        FaceGeometry of the timeline's T frames.
    Raises:
        FaceModelMismatchError: geometry, style, networks and face model do not belong together.
        ShapeError: samples are not one channel, or the timeline names frames that do not exist.
    """
    networks.check_face_model(face_model)
    networks.check_geometry(geometry)
    check_shape("speech samples", samples, "S")
    if len(samples) == 0:
        raise ShapeError("the speech has no samples; expected mono sound at 16 kHz.")
    index = torch.as_tensor(timeline.source_frame, dtype=torch.int64)
    if len(index) == 0 or int(index.min()) < 0 or int(index.max()) >= geometry.frame_count:
        raise ShapeError(
            f"the timeline names source frames outside 0 to {geometry.frame_count - 1}; make it from "
            "the same video as the geometry."
        )
    times = torch.as_tensor(timeline.times, dtype=torch.float64)
    durations = torch.as_tensor(timeline.durations, dtype=torch.float64)
    lower = predict_expression(
        samples,
        frames_to_cover(times, durations),
        style_vector(style, networks, strength),
        template_offsets(geometry.identity, face_model),
        networks,
        inner_frames=inner_frames,
        on_progress=on_progress,
        cache=cache,
    )
    expression = geometry.expression[index].clone()
    expression[:, : face_model.lower_count] = interpolate_frames(lower, times, durations).to(expression.dtype)
    return replace(
        geometry[index],
        expression=expression,
        source_frame=index.to(geometry.source_frame.dtype),
        times=times.to(geometry.times.dtype),
        durations=durations.to(geometry.durations.dtype),
        reference=geometry.reference,
    )


def _window(samples: Samples, start: int, end: int, device: torch.device) -> Tensor:
    """samples[start:end] with zeros where the recording has none."""
    inside = samples_between(samples, start, end, device)
    before = min(max(-start, 0), end - start)
    return F.pad(inside, (before, end - start - before - len(inside)))
