"""Does a dub of an hour take more memory, or more time a frame, than one of a minute?

``personatalk study long-clip --minutes 1 10 --size 320x320``. The clips are
made on the spot: the sample person, forwards and backwards without a cut, with the demo's line spoken again
and again. Each dub runs in a process of its own, so that its peak of resident memory is its own.

``--stand-ins`` replaces the networks of tracking and rendering, whose memory does not depend on the length of
a clip, by ones that cost next to nothing: what is left is everything whose cost could grow with the length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ...config import DubOptions
from ...dubbing.progress import Progress
from ...dubbing.run import OutputFiles
from ...errors import OptionsError
from ...media.audio_stream import AudioStream
from ...models import load_models
from ...pipeline import dub
from ...samples.demo import DEMO_SPEECH, sample_frames
from .benchmark import peak_rss_mib
from .stubs import dub_grey

FPS = 25
PACKAGE = __name__.partition(".evaluation.")[0]


def write_long_clip(path: Path, minutes: float, size: tuple[int, int]) -> None:
    """The sample person in the middle of a picture (width, height), for some minutes: coded once, then the
    packets repeated."""
    pictures = [_centred(frame, size) for frame in sample_frames()]
    pictures += pictures[-2:0:-1]  # 110 frames that end where they begin
    count = round(minutes * 60 * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"crf": "18", "preset": "veryfast", "bf": "0", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        packets = []
        for picture in pictures:
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode(None)
        # one a picture, in order: there are no B-frames
        contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for number in range(count):
            data, key = contents[number % len(contents)]
            packet = av.Packet(data)
            packet.stream, packet.is_keyframe = stream, key
            packet.pts = packet.dts = number
            packet.time_base, packet.duration = Fraction(1, FPS), 1
            container.mux(packet)


def write_long_speech(path: Path, minutes: float) -> None:
    """The demo's line again and again as 48 kHz stereo AAC."""
    from ...media.audio_stream import resampled_blocks

    line = np.concatenate(
        list(
            resampled_blocks(AudioStream(DEMO_SPEECH).blocks(), AudioStream(DEMO_SPEECH).sample_rate, 48_000)
        ),
        axis=1,
    )
    left = round(minutes * 60 * 48_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="stereo")
        done = 0
        while left > 0:
            part = np.repeat(line[:1, :left], 2, axis=0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, done, Fraction(1, 48_000)
            container.mux(stream.encode(frame))
            done, left = done + part.shape[1], left - part.shape[1]
        container.mux(stream.encode(None))


def measure(folder: Path, minutes: float, *, stubs: bool = False, windows: int = 0) -> dict:
    """Dub the clip in a folder in this process, whose memory is measured: frames, seconds of each stage, peak
    MiB."""
    import torch

    torch.set_num_threads(1)
    video, sound, out = folder / "clip.mp4", folder / "speech.m4a", folder / "out.mp4"
    options = DubOptions(device="cpu")
    models, files = load_models(options), OutputFiles(out, window=windows or None)
    progress, started, cpu = Progress(), time.monotonic(), time.process_time()
    if stubs:
        report = dub_grey(video, sound, files, models, options, progress)
    else:
        report = dub(video, sound, files, models, options, progress=progress)
    frames = report.frames
    return {
        "minutes": minutes,
        "frames": frames,
        "dubbed": report.dubbed,
        "seconds": time.monotonic() - started,
        "cpu_ms_a_frame": 1000 * (time.process_time() - cpu) / frames,
        "peak_rss_mib": peak_rss_mib(),
        "stages_ms_a_frame": {
            name: round(1000 * seconds / frames, 2) for name, seconds in progress.seconds.items()
        },
    }


def compare(rows: list[dict]) -> str:
    """The rows as text, each beside the first."""
    lines = ["minutes   frames   peak MiB   growth   CPU ms/frame   growth"]
    for row in rows:
        memory = row["peak_rss_mib"] / rows[0]["peak_rss_mib"] - 1
        pace = row["cpu_ms_a_frame"] / rows[0]["cpu_ms_a_frame"] - 1
        lines.append(
            f"{row['minutes']:7g} {row['frames']:8d} {row['peak_rss_mib']:10.0f} {memory:8.1%} "
            f"{row['cpu_ms_a_frame']:14.1f} {pace:8.1%}"
        )
    return "\n".join(lines)


def measure_lengths(
    minutes: Sequence[float],
    size: tuple[int, int],
    *,
    stubs: bool = False,
    windows: int = 0,
    folder: Path | None = None,
) -> list[dict]:
    """Measure each length in a process of its own; rows as :func:`measure` gives them.

    Args:
        minutes: lengths of the clips.
        size:    (width, height) of their frames.
        stubs:   cheap ones in place of the networks.
        windows: keep work every so many frames; 0 is as usual.
        folder:  for the clips and outputs; None is the system's.
    """
    rows = []
    for length in minutes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            write_long_clip(Path(name) / "clip.mp4", length, size)
            write_long_speech(Path(name) / "speech.m4a", length)
            command = [sys.executable, "-m", PACKAGE, "study", "long-clip", "--one", name]
            command += ["--minutes", str(length), "--windows", str(windows)]
            command += ["--stand-ins"] if stubs else []
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            sys.stderr.write(json.dumps(rows[-1]) + "\n")
    return rows


def _centred(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    scale = min(1.5, width / frame.shape[1], height / frame.shape[0])
    person = cv2.resize(
        frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    top, left = (height - person.shape[0]) // 2, (width - person.shape[1]) // 2
    around = (top, height - top - person.shape[0], left, width - left - person.shape[1])
    return np.ascontiguousarray(cv2.copyMakeBorder(person, *around, cv2.BORDER_REFLECT))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT, even numbers")
    parser.add_argument("--stand-ins", action="store_true", help="without the networks")
    parser.add_argument(
        "--windows",
        type=int,
        default=0,
        help="keep work every so many frames, so that seconds stand for minutes",
    )
    parser.add_argument("--folder", type=Path, help="where clips and working folders lie meanwhile")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The table of every length, or the numbers of one as JSON where this is the process that is measured."""
    width, _, height = args.size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) % 2 == int(height) % 2 == 0):
        raise OptionsError(
            f"size is '{args.size}' but expected WIDTHxHEIGHT of even numbers, such as 1920x1080."
        )
    if args.one:
        return json.dumps(measure(args.one, args.minutes[0], stubs=args.stand_ins, windows=args.windows))
    size = int(width), int(height)
    return compare(
        measure_lengths(args.minutes, size, stubs=args.stand_ins, windows=args.windows, folder=args.folder)
    )
