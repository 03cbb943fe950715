"""Sound files in, and sound cut to what a stage needs."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import av
import numpy as np
from scipy.signal import resample_poly

from ..config import SAMPLE_RATE
from ..errors import MediaError
from ..types import AudioClip
from .frame_index import open_media, packets_of

MAX_CHANNELS = 8
MAX_GAP = 600.0  # seconds: a longer hole between two pieces of sound is taken for a broken time stamp
SMALL_GAP = 0.05  # seconds: shorter ones are rounding of time stamps
MAX_PADDING = 4096  # samples that a codec may have appended to fill its last block
# how much of each channel speech is heard through; the bass channel of surround sound carries none
_DOWNMIX = {6: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5), 7: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5, 0.5), 8: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5, 0.5, 0.5)}


def read_audio(path: Path, *, aligned: bool = True) -> AudioClip:
    """Decode the first sound stream of a sound or video file at its own rate.

    Args:
        path:    any file that FFmpeg reads.
        aligned: pad or cut the beginning of a video's sound so that sample 0 is heard when frame 0 is seen; False leaves
            the samples as they are and states the difference in ``start``.
    Returns:
        samples (C, S) float32 with C in 1..8 and S >= 1; holes in the stream are silence.
    Raises:
        MediaError: missing, unreadable, without a sound stream, without a sample, or more than 8 channels.
    """
    path = Path(path)
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio stream; pass a file with speech in it.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path} has an audio stream of a kind that this FFmpeg cannot decode; export it as AAC or WAV.")
        rate = stream.codec_context.sample_rate
        if not rate or not 1 <= stream.codec_context.channels <= MAX_CHANNELS:
            found = f"{stream.codec_context.channels} channels of sound at {rate} Hz"
            raise MediaError(f"{path} has {found} but expected 1 to {MAX_CHANNELS} channels at a positive rate.")
        pieces, first = _decode(container, stream, rate)
        video = next(iter(container.streams.video), None)
        start = first - float((video.start_time or 0) * video.time_base) if video is not None and not _is_cover(video) else 0.0
        stated = round(float((stream.duration or 0) * stream.time_base) * rate)
    samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    if 0 < samples.shape[1] - stated <= MAX_PADDING < stated:
        samples = samples[:, :stated]  # the encoder filled its last block with silence
    if samples.shape[1] == 0:
        raise MediaError(f"{path} has an audio stream without a single sample; pass a file with speech in it.")
    np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0)
    clip = AudioClip(samples, rate, start)
    if not aligned or abs(start) * rate < 0.5:
        return clip if not aligned else AudioClip(samples, rate)
    aligned_clip = fit_audio(clip, start + clip.duration)
    if aligned_clip.samples.shape[1] == 0:
        raise MediaError(f"The sound of {path} ends before its picture begins; export the video again.")
    return aligned_clip


def speech_samples(clip: AudioClip) -> np.ndarray:
    """What the speech stages hear: one channel at SAMPLE_RATE.

    Paper: 4.1 (16 kHz).
    Returns:
        (ceil(S * 16000 / rate),) float32.
    """
    weights = np.array(_DOWNMIX.get(clip.samples.shape[0], np.ones(clip.samples.shape[0])), np.float32)
    mono = (weights / weights.sum()) @ clip.samples  # (S,)
    if clip.sample_rate == SAMPLE_RATE:
        return mono.astype(np.float32)
    divisor = gcd(SAMPLE_RATE, clip.sample_rate)
    return resample_poly(mono, SAMPLE_RATE // divisor, clip.sample_rate // divisor).astype(np.float32)


def fit_audio(clip: AudioClip, duration: float) -> AudioClip:
    """The sound from 0 to ``duration`` on the video's clock: cut where it is longer, silent where there is none.

    Args:
        clip:     starts anywhere.
        duration: seconds, >= 0.
    Returns:
        start 0 and round(duration * rate) samples; the samples themselves are not changed.
    """
    count, begin = round(duration * clip.sample_rate), round(clip.start * clip.sample_rate)
    if begin == 0 and count == clip.samples.shape[1]:
        return AudioClip(clip.samples, clip.sample_rate)
    fitted = np.zeros((clip.samples.shape[0], max(0, count)), np.float32)
    part = clip.samples[:, max(0, -begin) : max(0, count - begin)]
    at = max(0, begin)
    fitted[:, at : at + part.shape[1]] = part
    return AudioClip(fitted, clip.sample_rate)


def resampled(clip: AudioClip, rate: int) -> AudioClip:
    """The same sound at another rate, all channels kept."""
    if rate == clip.sample_rate:
        return clip
    divisor = gcd(rate, clip.sample_rate)
    samples = resample_poly(clip.samples, rate // divisor, clip.sample_rate // divisor, axis=1).astype(np.float32)
    return AudioClip(samples, rate, clip.start)


def _decode(container: av.container.InputContainer, stream: av.AudioStream, rate: int) -> tuple[list[np.ndarray], float]:
    """Pieces (C, n) float32, and the time of the first in seconds on the container's clock."""
    resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
    pieces, first, position = [], None, 0

    def keep(frame: av.AudioFrame | None) -> None:
        nonlocal position
        for converted in resampler.resample(frame):
            block = np.array(converted.to_ndarray(), np.float32)
            pieces.append(block)
            position += block.shape[1]

    for frame in _frames(container, stream):
        time = float(frame.pts * frame.time_base) if frame.pts is not None else None
        if first is None:
            first = time or 0.0
        elif time is not None:
            gap = time - first - position / rate
            if SMALL_GAP < gap < MAX_GAP:
                pieces.append(np.zeros((len(pieces[0]) if pieces else 1, round(gap * rate)), np.float32))
                position += pieces[-1].shape[1]
        frame.pts = None
        keep(frame)
    if first is not None:
        keep(None)
    return [piece for piece in pieces if piece.shape[1]], first or 0.0


def _frames(container: av.container.InputContainer, stream: av.AudioStream):
    for packet in packets_of(container, stream):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue
    try:
        yield from stream.decode(None)
    except av.error.FFmpegError:
        return


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
