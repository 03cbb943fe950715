"""What a second of video costs: processor time, wall time and memory of whole dubs, by picture size.

Run ``personatalk study dub-cost --sizes 350x350 1280x720 1920x1080``. The clips are made on the spot: the
sample person, enlarged to the picture's height, at 25 frames/s, with the demo's line spoken. Each dub runs in
a process of its own, so that its peak of memory is its own; loading the networks is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from ...config import DEVICES, DubOptions
from ...dubbing.progress import Progress
from ...errors import OptionsError
from ...models import load_models
from ...pipeline import dub
from ...samples.demo import sample_frames
from .benchmark import peak_rss_mib
from .long_clip import FPS, write_long_speech

CORE = __name__.split(".")[0]


def write_close_up(path: Path, seconds: float, size: tuple[int, int]) -> None:
    """The sample person as high as the picture (width, height), sides mirrored, forwards and backwards."""
    frames = [_enlarged(frame, size) for frame in sample_frames()]
    frames += frames[-2:0:-1]  # ends where it begins
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(round(seconds * FPS)):
            picture = av.VideoFrame.from_ndarray(frames[number % len(frames)], format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def measure(folder: Path, device: str, threads: int) -> dict[str, float | str]:
    """Dub the folder's clip in this process.

    Returns: ``cpu`` (user and system time) and ``wall`` in seconds a second of video, peak ``ram_mib`` of the
        process, ``vram_mib`` that torch held at most (0 on a CPU), ``threads`` and ``device``.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    options = DubOptions(device=device)
    models = load_models(options)
    on_gpu = models.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    started, cpu = time.monotonic(), time.process_time()
    report = dub(folder / "clip.mp4", folder / "speech.m4a", folder / "out.mp4", models, options)
    seconds = report.frames / FPS
    return {
        "cpu": (time.process_time() - cpu) / seconds,
        "wall": (time.monotonic() - started) / seconds,
        "ram_mib": peak_rss_mib(),
        "vram_mib": torch.cuda.max_memory_reserved() / 2**20 if on_gpu else 0.0,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else str(models.device),
    }


def measure_sizes(
    sizes: list[tuple[int, int]], seconds: float, runs: int, options: list[str]
) -> dict[str, list[dict]]:
    """Each size (width, height) ``runs`` times, in turns, each in a process of its own with these options of
    the study; rows as :func:`measure` gives them."""
    rows: dict[str, list[dict]] = {f"{width}x{height}": [] for width, height in sizes}
    with tempfile.TemporaryDirectory() as name:
        folders = {size: Path(name) / size for size in rows}
        for (size, folder), shape in zip(folders.items(), sizes, strict=True):
            folder.mkdir()
            write_close_up(folder / "clip.mp4", seconds, shape)
            write_long_speech(folder / "speech.m4a", seconds / 60)
            print(f"{size}: clip of {seconds:g} s written", file=sys.stderr, flush=True)
        for _ in range(runs):
            for size, folder in folders.items():
                command = [sys.executable, "-m", CORE, "study", "dub-cost", "--one", str(folder), *options]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                rows[size].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{size}: {json.dumps(rows[size][-1])}", file=sys.stderr, flush=True)
    return rows


def table(rows: dict[str, list[dict]]) -> str:
    """Medians over the runs as a Markdown table."""
    lines = [
        "| picture | device | CPU s per s | wall s per s | RAM MiB | VRAM MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for size, found in rows.items():
        middle = {
            name: statistics.median(row[name] for row in found)
            for name in ("cpu", "wall", "ram_mib", "vram_mib")
        }
        lines.append(
            f"| {size} | {found[0]['device']}, {found[0]['threads']} threads | {middle['cpu']:.1f} | "
            f"{middle['wall']:.1f} | {middle['ram_mib']:.0f} | {middle['vram_mib']:.0f} |"
        )
    return "\n".join(lines)


def _enlarged(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    scale = min(height / frame.shape[0], width / frame.shape[1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    person = cv2.resize(
        frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale)), interpolation=method
    )
    top, left = (height - person.shape[0]) // 2, (width - person.shape[1]) // 2
    around = (top, height - top - person.shape[0], left, width - left - person.shape[1])
    return np.ascontiguousarray(cv2.copyMakeBorder(person, *around, cv2.BORDER_REFLECT))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) % 2 == int(height) % 2 == 0 < int(width)):
        raise OptionsError(f"size is '{text}' but expected WIDTHxHEIGHT of even numbers, such as 1920x1080.")
    return int(width), int(height)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("--sizes", nargs="+", default=["350x350", "1280x720", "1920x1080"], metavar="WxH")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each clip")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size; the median counts")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of torch and OpenCV; default: their own")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The table of every size, or the numbers of one as JSON where this is the process that is measured."""
    if args.one:
        return json.dumps(measure(args.one, args.device, args.threads))
    options = ["--device", args.device, "--threads", str(args.threads)]
    return table(measure_sizes([_size(text) for text in args.sizes], args.seconds, args.runs, options))
