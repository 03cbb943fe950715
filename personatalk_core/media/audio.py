"""Sound as a whole: read from a file, cut to what a stage needs. Long sound is streamed by ``sound_stream.py`` instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..types import AudioClip
from .sound_stream import SoundFile, resampled_blocks, speech_blocks


def read_audio(path: Path, *, aligned: bool = True) -> AudioClip:
    """Decode the first sound stream of a sound or video file at its own rate, all of it at once.

    Args:
        path:    any file that FFmpeg reads.
        aligned: pad or cut the beginning of a video's sound so that sample 0 is heard when frame 0 is seen; False leaves
            the samples as they are and states the difference in ``start``.
    Returns:
        samples (C, S) float32 with C in 1..8 and S >= 1; holes in the stream are silence.
    Raises:
        MediaError: missing, unreadable, without a sound stream, without a sample, or more than 8 channels.
    """
    sound = SoundFile(path)
    pieces = list(sound.blocks(aligned=aligned))
    return AudioClip(np.concatenate(pieces, axis=1), sound.sample_rate, 0.0 if aligned else sound.start)


def speech_samples(clip: AudioClip) -> np.ndarray:
    """What the speech stages hear: one channel at SAMPLE_RATE.

    Paper: 4.1 (16 kHz).
    Returns:
        (ceil(S * 16000 / rate),) float32.
    """
    return np.concatenate(list(speech_blocks([clip.samples], clip.sample_rate)))


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
    return AudioClip(np.concatenate(list(resampled_blocks([clip.samples], clip.sample_rate, rate)), axis=1), rate, clip.start)
