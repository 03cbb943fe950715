"""One sound track of a file being written: encoded in step with the picture, so that neither waits for the other."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from ..types import AudioClip
from .audio import resampled

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
FLAC_MAX_RATE = 655_350
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1(back)", 8: "7.1"}
BITS_PER_CHANNEL = 96_000  # bits a second: no audible loss
BLOCK = 4096  # samples handed to the encoder at once


class AudioTrack:
    """A stream of ``container`` fed from a clip that starts at 0."""

    def __init__(self, container: av.container.OutputContainer, clip: AudioClip, file_format: str, *, lossless: bool) -> None:
        if lossless:
            codec, options = ("flac", {"strict": "-2"}) if file_format == "mp4" else ("pcm_f32le", {})
            sample_format = "s32" if codec == "flac" else "flt"
        else:
            codec, options, sample_format = "aac", {}, "fltp"
            if clip.sample_rate not in AAC_RATES:
                clip = resampled(clip, next((rate for rate in reversed(AAC_RATES) if rate >= clip.sample_rate), 48000))
        self._samples, self._rate = clip.samples, clip.sample_rate
        channels = self._samples.shape[0]
        self._layout = LAYOUTS[channels]
        self._stream = container.add_stream(codec, rate=self._rate, options=options)
        context = self._stream.codec_context
        context.layout, context.format = self._layout, sample_format
        if codec == "aac":
            context.bit_rate = BITS_PER_CHANNEL * channels
        context.time_base = Fraction(1, self._rate)
        self._flac = codec == "flac"
        self._sample_format = sample_format
        self._done = 0

    def write_until(self, time: Fraction | float, container: av.container.OutputContainer) -> None:
        """Encode what is heard before ``time`` seconds."""
        target = min(int(time * self._rate), self._samples.shape[1])
        while self._done < target:
            end = min(self._done + BLOCK, target)
            container.mux(self._stream.encode(self._frame(self._samples[:, self._done : end])))
            self._done = end

    def finish(self, container: av.container.OutputContainer) -> None:
        """Encode the rest and close the stream."""
        self.write_until(float("inf") if self._samples.shape[1] == 0 else self._samples.shape[1] / self._rate + 1, container)
        container.mux(self._stream.encode(None))

    def _frame(self, block: np.ndarray) -> av.AudioFrame:
        if self._sample_format == "fltp":
            data = np.ascontiguousarray(block, np.float32)
        else:
            data = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)  # packed: sample by sample
            if self._flac:  # 24 bits in the upper part of 32
                data = (np.rint(data.astype(np.float64) * (1 << 23)).clip(-(1 << 23), (1 << 23) - 1).astype(np.int32)) << 8
        frame = av.AudioFrame.from_ndarray(data, format=self._sample_format, layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        return frame
