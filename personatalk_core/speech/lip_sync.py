"""Speech of any length to the geometry of a clip: the lip-sync network at work (paper 3.1).

The network itself is ``network.LipSyncNetwork``. Here it runs over overlapping windows, its style is
calibrated, and its 25 fps motion is put on the video's own frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from ..checks import check_shape
from ..config import SAMPLES_PER_FRAME
from ..errors import ShapeError
from ..geometry.face_model import FaceModel
from ..types import Cache, FaceGeometry, OnProgress, Timeline
from .audio_encoder import Samples, clip_statistics, samples_between
from .networks import SpeechNetworks
from .timeline import frames_to_cover, interpolate_frames

INNER_FRAMES = 500  # frames kept of each window: 20 s, which bounds memory at any length
OPEN_REACH_SAMPLES = 4 * 16_000  # margin for a backbone that attends to its whole window


@dataclass(frozen=True)
class SpeechWindows:
    """How speech of any length is worked through, in overlapping windows whose inner frames are kept.

    inner_frames: kept of each window, at 25 fps; fewer need less memory and give the same result.
    on_progress: frames done and in all, at 25 fps.  cache: keeps finished windows; those it holds already are
    not made again.
    """

    inner_frames: int = INNER_FRAMES
    on_progress: OnProgress | None = None
    cache: Cache | None = None


def template_offsets(identity: Tensor, face_model: FaceModel) -> Tensor:
    """(A,) identity to (L, 3): the lower face at rest, {alpha, 0, 0}, as offsets from the mean face."""
    return einsum(identity, face_model.identity_basis[:, face_model.lower_vertices], "a, a l c -> l c")


@torch.inference_mode()
def predict_expression(
    samples: Samples,
    frames: int,
    style: Tensor,
    template: Tensor,
    networks: SpeechNetworks,
    windows: SpeechWindows | None = None,
) -> Tensor:
    """Lower expression at 25 fps for speech of any length.

    Windows begin on the encoder's own grid and their margin covers everything that can reach the inner
    frames, so with the Moonshine backbone the result does not depend on ``windows``. The style's calibration
    comes last.

    Args:
        samples:  (S,) at 16 kHz; silence is assumed around it.
        frames:   T; frame t covers the samples [640 t, 640 (t + 1)).
        style:    (D,), see :func:`style.style_vector`.
        template: (L, 3), see :func:`template_offsets`.
    Returns:
        (T, E_low) in standard deviations of the face model.
    """
    windows = windows or SpeechWindows()
    network = networks.lip_sync
    device = network.basis.device
    style, template = (x.to(device=device, dtype=torch.float32) for x in (style, template))
    statistics = clip_statistics(networks.audio_encoder, samples)

    # Each window: from the cache, or spoken now
    spoken: list[Tensor] = []  # (n, E_low) each
    for first in range(0, frames, windows.inner_frames):
        count, name = min(windows.inner_frames, frames - first), f"speech-{first:07d}"
        cached = windows.cache.load(name) if windows.cache is not None else None
        if cached is not None and len(cached.tensors["expression"]) == count:  # less memory, shorter windows
            spoken.append(cached.tensors["expression"])
            continue
        features = _window_features(
            networks, samples, first, count, statistics
        )  # (1, margin + n + margin, D)
        margin = network.config.margin
        inner = network(features, style[None], template[None])[0, margin : margin + count].cpu()
        spoken.append(inner)
        if windows.cache is not None:
            windows.cache.save(name, {"expression": inner})
        if windows.on_progress is not None:
            windows.on_progress(first + count, frames)
    expression = torch.cat(spoken)  # (T, E_low)

    # What the style asks for, and lips that meet
    if network.calibration is None:
        return expression
    correction, closing = network.calibration(network.calibration.compare(network, style, template))
    return closing(correction(expression))


def generate_geometry(
    geometry: FaceGeometry,
    samples: Samples,
    style: Tensor,
    networks: SpeechNetworks,
    face_model: FaceModel,
    timeline: Timeline,
    windows: SpeechWindows | None = None,
) -> FaceGeometry:
    """The target geometry G^tgt: pose and upper face of the source frames, lower face from the speech.

    Paper: 3.1 (lip-synced geometry generation), without the final projection.
    Args:
        geometry: C_{1:T} of the source video.
        samples:  (S,) mono speech at 16 kHz; time 0 is the output's time 0. An array, a tensor, or a file
            read by slices.
        style:    S, (D,): how to speak, from :func:`style.style_vector`.
        timeline: which source frame is shown when; any frame rate.
        windows:  how the speech is worked through.
    Returns:
        FaceGeometry of the timeline's T frames.
    Raises:
        FaceModelMismatchError: geometry, networks and face model do not belong together.
        ShapeError: samples are not one channel, or the timeline names frames that do not exist.
    """
    # Refuse what does not belong together
    networks.check_face_model(face_model)
    networks.check_geometry(geometry)
    check_shape("speech samples", samples, "S")
    if len(samples) == 0:
        raise ShapeError("the speech has no samples; expected mono sound at 16 kHz.")
    index = torch.as_tensor(timeline.source_frame, dtype=torch.int64)
    if len(index) == 0 or int(index.min()) < 0 or int(index.max()) >= geometry.frame_count:
        raise ShapeError(
            f"the timeline names source frames outside 0 to {geometry.frame_count - 1}; make it from the "
            "same video as the geometry."
        )

    # Speak at 25 fps
    times = torch.as_tensor(timeline.times, dtype=torch.float64)
    durations = torch.as_tensor(timeline.durations, dtype=torch.float64)
    template = template_offsets(geometry.identity, face_model)  # (L, 3)
    lower = predict_expression(
        samples, frames_to_cover(times, durations), style, template, networks, windows
    )  # (T25, E_low)

    # Put it on the video's frames
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


def _window_features(
    networks: SpeechNetworks,
    samples: Samples,
    first: int,
    count: int,
    statistics: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """(1, count + 2 margin, D) audio features around the frames from ``first`` on."""
    encoder, margin = networks.audio_encoder, networks.lip_sync.config.margin
    hop, reach = encoder.backbone.hop, encoder.backbone.reach
    reach = OPEN_REACH_SAMPLES if reach is None else reach
    reach = (reach + 2 * hop) // hop * hop  # whole hops, and one more for the interpolation
    begin, end = first - margin, first + count + margin  # frames that the network sees
    start = (begin * SAMPLES_PER_FRAME - reach) // hop * hop  # sample, on the encoder's grid
    window = _padded(samples, start, end * SAMPLES_PER_FRAME + reach, networks.lip_sync.basis.device)
    return encoder(window[None], begin * SAMPLES_PER_FRAME - start, end - begin, statistics)


def _padded(samples: Samples, start: int, end: int, device: torch.device) -> Tensor:
    """samples[start:end] with zeros where the recording has none."""
    inside = samples_between(samples, start, end, device)
    before = min(max(-start, 0), end - start)
    return F.pad(inside, (before, end - start - before - len(inside)))
