"""How fast each stage is on this machine, as numbers of one run: what ``bench`` and ``doctor`` print.

Absolute times mean little across machines, so the renderer is timed in turns with a generator of Wav2Lip's
size.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from ... import __version__
from ...compose.masks import lower_face_mask
from ...config import CROP_SIZE, MODEL_FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, DubOptions, FaceChoice
from ...dubbing.progress import Progress
from ...errors import DependencyError, OptionsError
from ...geometry.fitting import estimate_geometry
from ...geometry.pncc import draw_pncc
from ...models import Models
from ...rendering.batch import EncodedReferences
from ...rendering.renderer import Targets, encode_references, render
from ...types import ClipFrames, FaceTrack
from .synthetic_clip import SyntheticClip, synthetic_clip
from .wav2lip_generator import FACE_SIZE, MEL_SIZE, Wav2LipSizedGenerator

LIP_REFERENCES, FACE_REFERENCES = 25, 5  # paper 4.1: N_l and N_f in use
ROUNDS = 9  # turns of the renderer and the yardstick; the median counts
FRAMES = 8  # a batch of the pipeline


class RenderJob:
    """A renderer, encoded random references at 256 x 256 and targets: what one output frame of a dub costs.

    A dub encodes lip references once and meets one new face reference a frame, so :meth:`frame` encodes one
    and renders one.
    """

    def __init__(self, models: Models, seed: int = 0) -> None:
        self.models, self.face_model = models, models.face_model.to(models.device)
        self.clip = synthetic_clip(
            models.face_model, LIP_REFERENCES + FACE_REFERENCES + FRAMES, CROP_SIZE, seed
        )
        self.lip = self.encode(range(LIP_REFERENCES))
        self.face = self.encode(range(LIP_REFERENCES, LIP_REFERENCES + FACE_REFERENCES))
        targets = self.clip.points[LIP_REFERENCES + FACE_REFERENCES :]
        masks = [lower_face_mask(points, points, models.face_model, CROP_SIZE) for points in targets]
        self.shown = (torch.stack(masks) > 0).to(models.device)  # (FRAMES, 256, 256)

    @torch.no_grad()
    def encode(self, index: range) -> EncodedReferences:
        """Encode the synthetic frames of these numbers."""
        pixels, points, expression = (
            x[index.start : index.stop].to(self.models.device) for x in self._clip_tensors()
        )
        with self._mode():
            return encode_references(self.models.need_renderer(), pixels, points, expression, self.face_model)

    @torch.no_grad()
    def render(self, frames: int, lower_only: bool = False) -> None:
        """Render this many targets, at most FRAMES; only what a dub shows of them, or the whole crop."""
        first = LIP_REFERENCES + FACE_REFERENCES
        _, points, expression = (
            x[first : first + frames].to(self.models.device) for x in self._clip_tensors()
        )
        wanted = self.shown[:frames] if lower_only else None
        with self._mode():
            targets = Targets(points, expression, wanted=wanted)
            rendered = render(self.models.need_renderer(), targets, self.lip, self.face, self.face_model)
        float(rendered.rgb[0, 0, 0, 0])  # waits for the device

    def frames(self, count: int, lower_only: bool = False) -> None:
        """All that ``count`` output frames cost, in batches as the pipeline makes them."""
        for first in range(0, count, FRAMES):
            batch = min(FRAMES, count - first)
            self.encode(range(batch))
            self.render(batch, lower_only)

    def _clip_tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        clip: SyntheticClip = self.clip
        return clip.pixels, clip.points, clip.geometry.expression

    def _mode(self):
        device, dtype = self.models.device, self.models.dtype
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


@torch.no_grad()
def render_seconds_a_frame(models: Models, frames: int = FRAMES) -> float:
    """Seconds that one output frame takes at 256 x 256 with 5 face and 25 lip references, one new reference
    encoded a frame.

    Args:
        models: with the renderer loaded.
        frames: timed frames, >= 1; one more is rendered before to warm up.
    Raises:
        OptionsError: no renderer, or fewer than one frame.
    """
    if frames < 1:
        raise OptionsError(f"the benchmark was asked to time {frames} frames; expected 1 or more.")
    job = _job(models)
    job.frames(1)
    return _seconds(lambda: job.frames(frames)) / frames


@torch.no_grad()
def renderer_flops(models: Models) -> dict[str, float]:
    """GFLOP by ``torch.utils.flop_counter``: render one frame, encode one reference, Wav2Lip's size.

    A multiply-add counts as two; the counter knows convolutions, matrix products and attention, not sampling
    and interpolation.
    """
    job = _job(models)
    generator = Wav2LipSizedGenerator().eval()
    faces, mel = torch.zeros(1, 6, FACE_SIZE, FACE_SIZE), torch.zeros(1, 1, *MEL_SIZE)
    parts = {
        "render_frame": lambda: job.render(1),
        "encode_reference": lambda: job.encode(range(1)),
        "wav2lip_sized": lambda: generator(faces, mel),
    }
    counted = {}
    for name, call in parts.items():
        with FlopCounterMode(display=False) as counter:
            call()
        counted[name] = counter.get_total_flops() / 1e9
    return counted


@torch.no_grad()
def relative_speed(models: Models, on_progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """Frames a second of the renderer and of the Wav2Lip-sized generator, timed in turns on one device and
    thread count.

    Three ways of rendering: the whole crop (``renderer_fps``, ``ratio``), what a dub shows of it, the lower
    face (``lower_face_fps``, ``lower_face_ratio``), both of which draw the geometry and encode one new
    reference a frame; and the whole crop from references that are all encoded (``encoded_fps``,
    ``encoded_ratio``).
    """
    job = _job(models)
    generator = Wav2LipSizedGenerator().eval().to(models.device)
    faces = torch.rand(FRAMES, 6, FACE_SIZE, FACE_SIZE, device=models.device)
    mel = torch.rand(FRAMES, 1, *MEL_SIZE, device=models.device)
    calls = (
        lambda: job.frames(FRAMES),
        lambda: job.frames(FRAMES, lower_only=True),
        lambda: job.render(FRAMES),
        lambda: float(generator(faces, mel)[0, 0, 0, 0]),
    )
    turns: list[list[float]] = []
    for turn in range(ROUNDS + 1):
        turns.append([_seconds(call) for call in calls])
        if on_progress:
            on_progress(turn + 1, ROUNDS + 1)
    # the first turn warms up
    medians = [statistics.median(seconds) for seconds in zip(*turns[1:], strict=True)]
    whole, lower, encoded, other = (FRAMES / seconds for seconds in medians)
    return {
        "renderer_fps": whole,
        "lower_face_fps": lower,
        "encoded_fps": encoded,
        "wav2lip_sized_fps": other,
        "ratio": whole / other,
        "lower_face_ratio": lower / other,
        "encoded_ratio": encoded / other,
    }


@torch.no_grad()
def run_benchmark(models: Models, options: DubOptions, progress: Progress) -> dict:
    """Time every stage alone, on synthetic input where no media is needed.

    Args:
        models:  from ``load_models``; a stage whose network is None is left out.
        options: face choice of the tracking stage.
        progress:  one progress bar a stage.
    Returns:
        {"machine": {...}, "frames_a_second": {stage: fps}, "relative": {...}, "gflop": {...}, "peak_rss_mib":
        float, "remarks": [...]}
    """
    speeds: dict[str, float] = {}
    remarks: list[str] = []
    clip = synthetic_clip(models.face_model, 100)
    _time_tracking(models, options, progress, speeds, remarks)
    track = _synthetic_track(clip, models)
    speeds["fitting"] = _rate(100, lambda: estimate_geometry(track, models.face_model), progress, "fitting")
    speeds["pncc"] = _rate(
        32, lambda: draw_pncc(clip.points[:32], models.face_model, (CROP_SIZE, CROP_SIZE)), progress, "pncc"
    )
    if models.speech is not None:
        speeds["speech"] = _time_speech(models, progress)
    result = {"machine": _machine(models), "frames_a_second": speeds, "relative": {}, "gflop": {}}
    if models.renderer is not None:
        result["relative"] = relative_speed(models, progress.stage("rendering"))
        speeds["rendering"] = result["relative"]["renderer_fps"]
        result["gflop"] = renderer_flops(models)
        speeds["compose"] = _time_compose(clip, models, progress)
    result["peak_rss_mib"], result["remarks"] = peak_rss_mib(), remarks
    return result


def format_benchmark(result: dict) -> str:
    """The numbers of :func:`run_benchmark` as text."""
    lines = ["machine:    " + ", ".join(f"{name} {value}" for name, value in result["machine"].items())]
    lines += [f"{stage + ':':<11} {fps:9.1f} frames/s" for stage, fps in result["frames_a_second"].items()]
    if result["relative"]:
        fps = result["relative"]
        lines.append(
            f"Wav2Lip's size (random weights, 96x96): {fps['wav2lip_sized_fps']:.1f} frames/s; the "
            f"renderer is {fps['ratio']:.2f} times as fast on the whole crop, "
            f"{fps['lower_face_ratio']:.2f} times on the lower face that a dub shows, "
            f"{fps['encoded_ratio']:.2f} times on the whole crop where no reference is new"
        )
    if result["gflop"]:
        work = result["gflop"]
        lines.append(
            f"work:       {work['render_frame']:.2f} GFLOP to render a frame at 256x256, "
            f"{work['encode_reference']:.2f} to encode a reference; Wav2Lip's size "
            f"{work['wav2lip_sized']:.2f} at 96x96"
        )
    lines.append(f"peak RSS:   {result['peak_rss_mib']:.0f} MiB")
    return "\n".join(lines + [f"remark:     {text}" for text in result["remarks"]])


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, MiB; NaN where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "linux" else peak / (1 << 20)


def _job(models: Models) -> RenderJob:
    if models.renderer is None:
        raise OptionsError(
            "the benchmark needs the renderer but these models were loaded without it; load the part "
            "'renderer'."
        )
    return RenderJob(models)


def _time_tracking(
    models: Models, options: DubOptions, progress: Progress, speeds: dict[str, float], remarks: list[str]
) -> None:
    from ...samples.demo import sample_frames
    from ...tracking.track import track_face

    try:
        frames = sample_frames()
    except DependencyError as error:
        remarks.append(f"tracking was not timed: {error}")
        return
    clip = ClipFrames(
        lambda first: frames[first:], torch.arange(len(frames)).numpy() / 15.0, frames.shape[1:3]
    )
    choice, on_progress = FaceChoice.parse(options.face), progress.stage("tracking")
    started = time.perf_counter()
    track_face(clip, choice, landmarker=models.landmarker, on_progress=on_progress)
    speeds["tracking"] = len(frames) / (time.perf_counter() - started)


def _synthetic_track(clip: SyntheticClip, models: Models) -> FaceTrack:
    frames = clip.geometry.frame_count
    landmarks = torch.zeros(frames, 478, 3)
    landmarks[:, models.face_model.landmark_id] = clip.points[:, models.face_model.landmark_vertex]
    # pixels
    landmarks[..., :2] += 0.3 * torch.randn(frames, 478, 2, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(frames, dtype=torch.int64)
    return FaceTrack(
        landmarks.numpy(),
        torch.zeros(frames, 52).numpy(),
        zeros.byte().numpy(),
        zeros.numpy(),
        clip.geometry.times.numpy(),
        (CROP_SIZE, CROP_SIZE),
    )


def _time_speech(models: Models, progress: Progress, frames: int = 200) -> float:
    from ...speech.lip_sync import predict_expression, template_offsets
    from ...speech.style import style_vector

    samples = 0.1 * torch.randn(frames * SAMPLES_PER_FRAME, generator=torch.Generator().manual_seed(0))
    template = template_offsets(torch.zeros(models.face_model.identity_count), models.face_model)
    style = style_vector(None, models.need_speech())
    predict_expression(samples[:SAMPLE_RATE], MODEL_FPS, style, template, models.need_speech())  # warms up
    return _rate(
        frames,
        lambda: predict_expression(samples, frames, style, template, models.need_speech()),
        progress,
        "speech",
    )


def _time_compose(clip: SyntheticClip, models: Models, progress: Progress, frames: int = 8) -> float:
    from ...compose.paste_back import paste_back

    picture = (clip.pixels[0].permute(1, 2, 0) * 255).byte().numpy()
    box = torch.tensor([CROP_SIZE / 2, CROP_SIZE / 2, CROP_SIZE])

    def compose() -> None:
        for t in range(frames):
            mask = lower_face_mask(clip.points[t], clip.points[t + 1], models.face_model, CROP_SIZE)
            paste_back(picture, clip.pixels[t + 1], mask, box, weight=1.0)

    return _rate(frames, compose, progress, "compose")


def _machine(models: Models) -> dict[str, object]:
    dtype = str(models.dtype).removeprefix("torch.")
    return {
        "personatalk": __version__,
        "torch": torch.__version__,
        "device": str(models.device),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _rate(frames: int, call: Callable[[], object], progress: Progress, name: str) -> float:
    on_progress = progress.stage(name)
    seconds = _seconds(call)
    on_progress(1, 1)
    return frames / seconds
