"""One sound track of a file being written: encoded in step with the picture, so that neither waits for the
other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.container import OutputContainer

from ..types import AudioClip
from .audio_stream import AudioStream, fit_audio, fitted_blocks, resampled_blocks

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
FLAC_MAX_RATE = 655_350
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1(back)", 8: "7.1"}
BITS_PER_CHANNEL = 96_000  # bits a second: no audible loss
BLOCK = 4096  # samples handed to the encoder at once


class AudioTrack:
    """A stream of ``container`` fed block by block from sound that starts at 0.

    Args:
        sound:    a clip, or a file that is decoded as it is needed.
        duration: seconds to cut or pad it to; None writes a clip as it is.
    """

    def __init__(
        self,
        container: OutputContainer,
        sound: AudioClip | AudioStream,
        file_format: str,
        *,
        lossless: bool,
        duration: float | None = None,
    ) -> None:
        rate, blocks = sound.sample_rate, _blocks(sound, duration)
        channels = sound.samples.shape[0] if isinstance(sound, AudioClip) else sound.channels
        if lossless:
            codec, options = ("flac", {"strict": "-2"}) if file_format == "mp4" else ("pcm_f32le", {})
            sample_format = "s32" if codec == "flac" else "flt"
        else:
            codec, options, sample_format = "aac", {}, "fltp"
            if rate not in AAC_RATES:
                aac_rate = next((known for known in reversed(AAC_RATES) if known >= rate), 48000)
                rate, blocks = aac_rate, resampled_blocks(blocks, rate, aac_rate)
        self._container = container
        self._queue, self._rate = _SampleQueue(blocks, channels), rate
        self._layout = LAYOUTS[channels]
        self._stream = container.add_stream(codec, rate=rate, options=options)
        context = self._stream.codec_context
        context.layout, context.format = self._layout, sample_format
        if codec == "aac":
            context.bit_rate = BITS_PER_CHANNEL * channels
        context.time_base = Fraction(1, rate)
        self._flac = codec == "flac"
        self._sample_format = sample_format
        self._done = 0

    def write_until(self, time: Fraction | float) -> None:
        """Encode what is heard before ``time`` seconds."""
        target = int(time * self._rate)
        while self._done < target and self._write(min(BLOCK, target - self._done)):
            pass

    def finish(self) -> None:
        """Encode the rest and close the stream."""
        while self._write(BLOCK):
            pass
        self._container.mux(self._stream.encode(None))

    def _write(self, count: int) -> bool:
        block = self._queue.take(count)
        if block.shape[1]:
            self._container.mux(self._stream.encode(self._frame(block)))
            self._done += block.shape[1]
        return block.shape[1] == count

    def _frame(self, block: np.ndarray) -> av.AudioFrame:
        if self._sample_format == "fltp":
            data = np.ascontiguousarray(block, np.float32)
        else:
            data = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)  # packed: sample by sample
            if self._flac:  # 24 bits in the upper part of 32
                data = (
                    np.rint(data.astype(np.float64) * (1 << 23))
                    .clip(-(1 << 23), (1 << 23) - 1)
                    .astype(np.int32)
                ) << 8
        frame = av.AudioFrame.from_ndarray(data, format=self._sample_format, layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        return frame


class _SampleQueue:
    """Samples in the portions that are asked for, from blocks of any size."""

    def __init__(self, blocks: Iterable[np.ndarray], channels: int) -> None:
        self._blocks = iter(blocks)
        self._held = np.zeros((channels, 0), np.float32)

    def take(self, count: int) -> np.ndarray:
        """The next ``count`` samples (C, n); fewer at the end."""
        pieces, held = [self._held], self._held.shape[1]
        while held < count:
            block = next(self._blocks, None)
            if block is None:
                break
            pieces.append(block)
            held += block.shape[1]
        joined = np.concatenate(pieces, axis=1) if len(pieces) > 1 else self._held
        self._held = joined[:, count:]
        return joined[:, :count]


def _blocks(sound: AudioClip | AudioStream, duration: float | None) -> Iterator[np.ndarray]:
    if isinstance(sound, AudioClip):
        samples = sound.samples if duration is None else fit_audio(sound, duration).samples
        return (samples[:, start : start + BLOCK] for start in range(0, samples.shape[1], BLOCK))
    if duration is None:
        return sound.blocks()
    return fitted_blocks(sound.blocks(), sound.channels, round(duration * sound.sample_rate))
