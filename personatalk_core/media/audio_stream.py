"""Sound of any length in blocks: decoded, laid on the picture's clock, mixed down, resampled and cut.

Only :func:`read_audio` and its companions, for a short clip, hold all of it in memory.

Every step gives the same samples however the sound is cut into blocks. A block is (C, n) float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from einops import rearrange
from scipy.signal import resample_poly

from ..checks import check_length, check_sample_rate
from ..config import SAMPLE_RATE
from ..errors import MediaError
from ..types import AudioClip
from .frame_index import exact_time_base, open_media, packets_of

MAX_CHANNELS = 8
MAX_GAP = 600.0  # seconds: a longer hole between two pieces of sound is taken for a broken time stamp
SMALL_GAP = 0.05  # seconds: shorter ones are rounding of time stamps
MAX_PADDING = 4096  # samples that a codec may have appended to fill its last block
SILENCE = 1 << 16  # samples of silence handed out at once
RESAMPLED_AT_ONCE = 1 << 16  # samples, before resampling
FILTER_REACH = 10  # of scipy's resample_poly: half the filter, in samples of the slower rate
# how much of each channel speech is heard through; the bass channel of surround sound carries none
_DOWNMIX = {
    6: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5),
    7: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5, 0.5),
    8: (1.0, 1.0, 1.5, 0.0, 0.5, 0.5, 0.5, 0.5),
}


class AudioStream:
    """The first sound stream of a file at its own rate. Each call of :meth:`blocks` decodes it from the
    start.

    sample_rate: Hz.  channels: 1 to 8.  start: seconds on the clock of the file's picture, known once a block
        was read.
    Raises:
        MediaError: missing, unreadable, without a sound stream, or more than 8 channels.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.start = 0.0
        with open_media(self.path) as container:
            if not container.streams.audio:
                raise MediaError(f"{path} has no audio stream; pass a file with speech in it.")
            context = container.streams.audio[0].codec_context
            if context is None:
                raise MediaError(
                    f"{path} has an audio stream of a kind that this FFmpeg cannot decode; export it as "
                    "AAC or WAV."
                )
            self.sample_rate, self.channels = context.sample_rate, context.channels
        check_sample_rate(self.path, self.sample_rate, self.channels, MAX_CHANNELS)

    def blocks(self, *, aligned: bool = True) -> Iterator[np.ndarray]:
        """The samples, holes in the stream as silence.

        Args:
            aligned: begin where the picture begins, padded or cut; False gives the samples as they are.
        Raises:
            MediaError: not a single sample, or none after the picture has begun.
        """
        count, left = 0, None
        for block in self._trimmed():
            count += block.shape[1]
            check_length(self.path, max(0.0, self.start) + count / self.sample_rate)
            if left is None:  # the first block: ``start`` is known
                begin = (
                    round(self.start * self.sample_rate)
                    if aligned and abs(self.start) * self.sample_rate >= 0.5
                    else 0
                )
                yield from _silence(block.shape[0], begin)
                left = max(0, -begin)  # samples to drop
            skipped = min(left, block.shape[1])
            left -= skipped
            if skipped < block.shape[1]:
                yield block[:, skipped:]
        if count == 0:
            raise MediaError(
                f"{self.path} has an audio stream without a single sample; pass a file with speech in it."
            )
        if aligned and count + round(self.start * self.sample_rate) <= 0:
            raise MediaError(
                f"The sound of {self.path} ends before its picture begins; export the video again."
            )

    def _trimmed(self) -> Iterator[np.ndarray]:
        """Without the silence that the encoder filled its last block with; always finite."""
        with open_media(self.path) as container:
            if not container.streams.audio:
                raise MediaError(f"{self.path} has lost its audio stream; put the file back as it was.")
            stream = container.streams.audio[0]
            stated = round(float((stream.duration or 0) * exact_time_base(stream)) * self.sample_rate)
            done, beyond = 0, []
            for block in self._decoded(container, stream):
                if stated > MAX_PADDING and done + block.shape[1] > stated:
                    inside = max(0, stated - done)
                    beyond.append(block[:, inside:])
                    done += block.shape[1]
                    block = block[:, :inside]
                    if done - stated > MAX_PADDING:  # the header is wrong, not the last block padded
                        stated = 0
                        block, beyond = np.concatenate([block, *beyond], axis=1), []
                else:
                    done += block.shape[1]
                if block.shape[1]:
                    yield np.nan_to_num(block, copy=False, posinf=1.0, neginf=-1.0)

    def _decoded(self, container: InputContainer, stream: av.AudioStream) -> Iterator[np.ndarray]:
        resampler = av.AudioResampler(format="flt", layout=stream.codec_context.layout, rate=self.sample_rate)
        video = next(
            (s for s in container.streams.video if not s.disposition & Disposition.attached_pic),
            None,
        )
        first, position = None, 0
        for frame in _frames(container, stream):
            time = float(frame.pts * exact_time_base(frame)) if frame.pts is not None else None
            if first is None:
                first = time or 0.0
                self.start = (
                    first - float((video.start_time or 0) * exact_time_base(video))
                    if video is not None
                    else 0.0
                )
            elif time is not None:
                gap = time - first - position / self.sample_rate
                if SMALL_GAP < gap < MAX_GAP:
                    position += round(gap * self.sample_rate)
                    yield from _silence(self.channels, round(gap * self.sample_rate))
            frame.pts = None
            for converted in resampler.resample(frame):
                position += converted.samples
                yield _planes(converted)
        if first is not None:
            for converted in resampler.resample(None):
                yield _planes(converted)


def read_audio(path: Path, *, aligned: bool = True) -> AudioClip:
    """Decode the first sound stream of a sound or video file at its own rate, all of it at once.

    Args:
        path:    any file that FFmpeg reads.
        aligned: pad or cut the beginning of a video's sound so that sample 0 is heard when frame 0 is seen;
            False leaves the samples as they are and states the difference in ``start``.
    Returns:
        samples (C, S) float32 with C in 1..8 and S >= 1; holes in the stream are silence.
    Raises:
        MediaError: missing, unreadable, without a sound stream, without a sample, or more than 8 channels.
    """
    sound = AudioStream(path)
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
    """The sound from 0 to ``duration`` on the video's clock: cut where it is longer, silent where there is
    none.

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
    kept = clip.samples[:, max(0, -begin) : max(0, count - begin)]
    start = max(0, begin)
    fitted[:, start : start + kept.shape[1]] = kept
    return AudioClip(fitted, clip.sample_rate)


def resampled(clip: AudioClip, rate: int) -> AudioClip:
    """The same sound at another rate, all channels kept."""
    if rate == clip.sample_rate:
        return clip
    return AudioClip(
        np.concatenate(list(resampled_blocks([clip.samples], clip.sample_rate, rate)), axis=1),
        rate,
        clip.start,
    )


class SpeechSamples:
    """One channel of float32 samples at SAMPLE_RATE in a file: what the speech stages hear, read by slices.

    duration: seconds of the sound it was made from.  source: the file that sound came from.
    """

    def __init__(self, path: Path, duration: float, source: Path) -> None:
        self.path, self.duration, self.source = Path(path), duration, Path(source)
        self.shape = (self.path.stat().st_size // 4,)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, samples: slice) -> np.ndarray:
        """(n,) float32 of consecutive samples."""
        begin, end, _ = samples.indices(len(self))
        return np.fromfile(self.path, np.float32, max(0, end - begin), offset=4 * begin)


def write_speech(sound: AudioStream, path: Path) -> SpeechSamples:
    """Decode a sound once into a file of what the speech stages hear. Raises MediaError as AudioStream;
    OSError: the disk is full."""
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for block in sound.blocks():
            count += block.shape[1]
            yield block

    with Path(path).open("wb") as target:
        target.writelines(block.tobytes() for block in speech_blocks(counted(), sound.sample_rate))
    return SpeechSamples(path, count / sound.sample_rate, sound.path)


def speech_blocks(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """(C, n) blocks at ``rate`` to (n,) blocks of one channel at SAMPLE_RATE (paper 4.1: 16 kHz)."""
    for block in resampled_blocks(map(_mono, blocks), rate, SAMPLE_RATE):
        yield block[0]


def resampled_blocks(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """The same sound at another rate: ceil(S * new_rate / rate) samples, those of one ``resample_poly``
    over all of it."""
    if rate == new_rate:
        yield from blocks
        return
    divisor = gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    # input samples to either side that an output sample depends on
    reach = -(-FILTER_REACH * max(up, down) // up) + 1
    # input samples at once: output falls on whole samples at each multiple of ``down``
    step = -(-RESAMPLED_AT_ONCE // down) * down
    margin = -(-reach // down) * down
    held, first = None, 0  # first: number of the first held sample
    done = 0  # input samples whose output is out
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=1)
        while first + held.shape[1] >= done + step + reach:
            yield _resample_piece(held, first, done, done + step, up, down, reach)
            done += step
            keep = max(0, done - margin)
            held, first = held[:, keep - first :], keep
    if held is not None and first + held.shape[1] > done:
        yield _resample_piece(held, first, done, None, up, down, reach)


def fitted_blocks(blocks: Iterable[np.ndarray], channels: int, count: int) -> Iterator[np.ndarray]:
    """Exactly ``count`` samples: cut where there are more, silence where there are fewer."""
    for block in blocks:
        block = block[:, :count]
        count -= block.shape[1]
        if block.shape[1]:
            yield block
        if count == 0:
            return
    yield from _silence(channels, count)


def _resample_piece(
    held: np.ndarray, first: int, begin: int, end: int | None, up: int, down: int, reach: int
) -> np.ndarray:
    """Output of the input samples begin to end (None: to the last); ``first`` and ``begin`` are multiples of
    ``down``."""
    piece = held if end is None else held[:, : end + reach - first]
    output = resample_poly(piece, up, down, axis=1)
    skip = (begin - first) // down * up
    stop = None if end is None else skip + (end - begin) // down * up
    return np.ascontiguousarray(output[:, skip:stop], np.float32)


def _mono(block: np.ndarray) -> np.ndarray:
    """(C, n) -> (1, n), channel by channel, so that a sample does not depend on the block it came in."""
    weights = np.array(_DOWNMIX.get(block.shape[0], np.ones(block.shape[0])), np.float32)
    mixed = np.zeros((1, block.shape[1]), np.float32)
    for weight, channel in zip(weights / weights.sum(), block, strict=True):
        mixed += weight * channel
    return mixed


def _silence(channels: int, count: int) -> Iterator[np.ndarray]:
    for done in range(0, count, SILENCE):
        yield np.zeros((channels, min(SILENCE, count - done)), np.float32)


def _frames(container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    for packet in packets_of(container, stream):
        try:
            yield from packet.decode()
        except FFmpegError:
            continue
    try:
        yield from stream.decode(None)
    except FFmpegError:
        return


def _planes(frame: av.AudioFrame) -> np.ndarray:
    """(C, S) float32 of a packed frame; PyAV reads beyond its memory where eight channels come as planes."""
    return rearrange(np.array(frame.to_ndarray(), np.float32), "1 (s c) -> c s", c=frame.layout.nb_channels)
