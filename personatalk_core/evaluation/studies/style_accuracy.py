"""Is a style worth its name? One speaker's clips near to each other, generated motion near to the style asked
for, strength and mixing.

    personatalk study style-accuracy FOLDER [--figure STYLES.svg]

The generator's own style (``speech/style.py``) answers for what it is used for; every answer is repeated by
StyleSim's encoder, which the generator never saw. Long clips are cut into pieces, so that a person with one
clip counts too.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...config import DubOptions
from ...dubbing.progress import Progress
from ...models import Models, load_models
from ...speech.lip_sync import predict_expression, template_offsets
from ...speech.style import style_vector
from ...speech.timeline import at_model_rate
from ...types import StyleEmbedding
from ...weights.resolver import resolve_weights
from ..metrics.style_map import draw_style_map, tsne
from ..metrics.style_similarity import StyleMetric, load_style_metric, style_of_motion, window_styles
from .talking_clips import TalkingClip, add_clip_options, load_judge, read_clips

PIECE_FRAMES = 100  # four seconds
STRENGTHS = (0.0, 1.0, 2.0)

StyleOf = Callable[[Tensor], Tensor]
"""(T, E_low) motion at 25 fps to a vector in which near means alike."""


def own_style(models: Models) -> StyleOf:
    """The style that drives the generator."""
    network = models.need_speech().lip_sync

    @torch.inference_mode()
    def style(motion: Tensor) -> Tensor:
        return network.style(network.offsets(motion[None]))[0]

    return style


def judged_style(metric: StyleMetric) -> StyleOf:
    """StyleSim's. Raises FaceError for under a second of motion when called."""
    return lambda motion: style_of_motion(motion, torch.ones(len(motion), dtype=torch.bool), metric)


def motion_of(clip: TalkingClip, models: Models) -> Tensor:
    """(T, E_low) lower expression of a clip's usable frames at 25 fps."""
    expression, usable = at_model_rate(clip.geometry)
    return expression[usable, : models.face_model.lower_count]


def speak(clip: TalkingClip, style: Tensor, models: Models) -> Tensor:
    """(T, E_low) the clip's sound spoken with its own face in a style (D,)."""
    frames = len(at_model_rate(clip.geometry)[0])
    template = template_offsets(clip.geometry.identity, models.face_model)
    return predict_expression(torch.from_numpy(clip.heard), frames, style, template, models.need_speech())


def pieces(motions: Sequence[Tensor], speakers: Sequence[str]) -> list[tuple[str, Tensor]]:
    """Motions as pieces of PIECE_FRAMES or, where a clip is not twice as long, two halves of at least a
    second; whole clips of people who have several of them."""
    several = {s for s in speakers if list(speakers).count(s) > 1}
    found = []
    for speaker, motion in zip(speakers, motions, strict=True):
        count = (
            1
            if speaker in several and len(motion) < 2 * PIECE_FRAMES
            else max(2, len(motion) // PIECE_FRAMES)
        )
        found += [(speaker, part) for part in motion.tensor_split(count) if len(part) >= 25]
    return found


def nearest_speaker(parts: Sequence[tuple[str, Tensor]], style_of: StyleOf) -> dict[str, float]:
    """1-NN: by speaker, the share of pieces whose nearest other piece is the same speaker's."""
    vectors = torch.stack([style_of(motion) for _, motion in parts])
    distance = torch.cdist(vectors, vectors)
    distance.fill_diagonal_(torch.inf)
    hits: dict[str, list[bool]] = {}
    for (speaker, _), nearest in zip(parts, distance.argmin(1).tolist(), strict=True):
        hits.setdefault(speaker, []).append(parts[nearest][0] == speaker)
    return {speaker: sum(h) / len(h) for speaker, h in hits.items() if len(h) > 1}


def swaps(
    clips: Sequence[TalkingClip], models: Models, judges: dict[str, StyleOf]
) -> dict[str, dict[str, float]]:
    """Every clip's sound in every style.

    Returns:
        {judge: {"closer to the style asked for": share of swaps in which the motion is nearer to the style
        asked for than to the speaker's own, "own style nearest": share of clips whose motion in their own
        style is nearest to their own of all styles, "asked style nearest": the same for all swaps}}.
    """
    generator, motions = own_style(models), [motion_of(c, models) for c in clips]
    styles = [generator(m) for m in motions]
    targets = {name: torch.stack([judge(m) for m in motions]) for name, judge in judges.items()}
    closer, own, asked = ({name: [] for name in judges} for _ in range(3))
    for i, clip in enumerate(clips):
        for j, style in enumerate(styles):
            motion = speak(clip, style, models)
            for name, judge in judges.items():
                distance = (targets[name] - judge(motion)).norm(dim=-1)
                if i == j:
                    own[name].append(int(distance.argmin()) == i)
                else:
                    closer[name].append(float(distance[j]) < float(distance[i]))
                    asked[name].append(int(distance.argmin()) == j)
    share = lambda hits: sum(hits) / max(len(hits), 1)  # noqa: E731
    names = ("closer to the style asked for", "own style nearest", "asked style nearest")
    return {
        judge: dict(zip(names, (share(closer[judge]), share(own[judge]), share(asked[judge])), strict=True))
        for judge in judges
    }


def strengths(clips: Sequence[TalkingClip], models: Models) -> dict[float, float]:
    """How far along the way from the average speaker to the person the generated motion lies at each
    strength, mean over clips.

    The motion's own style is projected onto the line from what strength 0 gives to what strength 1 gives: 0,
    1 and more.
    """
    generator = own_style(models)
    along: dict[float, list[float]] = {s: [] for s in STRENGTHS}
    for clip in clips:
        style = StyleEmbedding(
            generator(motion_of(clip, models)),
            clip.name,
            models.face_model.sha256,
            models.need_speech().sha256,
        )
        made = {
            s: generator(speak(clip, style_vector(style, models.need_speech(), s), models)) for s in STRENGTHS
        }
        line = made[1.0] - made[0.0]
        for s in STRENGTHS:
            along[s].append(float((made[s] - made[0.0]) @ line / line.square().sum()))
    return {s: sum(values) / len(values) for s, values in along.items()}


def mixes(clips: Sequence[TalkingClip], models: Models) -> tuple[float, float]:
    """An even mix of a clip's own style and the next one's: where its motion lies from the one (0) to the
    other (1), mean over clips, and the share of clips in which it lies strictly between."""
    generator = own_style(models)
    styles = [generator(motion_of(c, models)) for c in clips]
    places = []
    for k, clip in enumerate(clips):
        ends = styles[k], styles[(k + 1) % len(clips)]
        first, middle, last = (
            generator(speak(clip, s, models)) for s in (ends[0], (ends[0] + ends[1]) / 2, ends[1])
        )
        line = last - first
        places.append(float((middle - first) @ line / line.square().sum()))
    return sum(places) / len(places), sum(0 < p < 1 for p in places) / len(places)


def figure(clips: Sequence[TalkingClip], models: Models, metric: StyleMetric) -> str:
    """Figure 5: an SVG of two-second windows of the clips and of what is generated in their styles from the
    next clip's sound."""
    generator, lower = own_style(models), models.face_model.lower_count
    points, speakers, generated = [], [], []
    for k, clip in enumerate(clips):
        expression, usable = at_model_rate(clip.geometry)
        other = clips[(k + 1) % len(clips)]
        spoken = speak(other, generator(motion_of(clip, models)), models)
        for motion, frames, is_generated in (
            (expression[:, :lower], usable, False),
            (spoken, torch.ones(len(spoken), dtype=torch.bool), True),
        ):
            windows = window_styles(motion, frames, metric)
            points.append(windows)
            speakers += [clip.name.split("__")[0]] * len(windows)
            generated += [is_generated] * len(windows)
    return draw_style_map(tsne(torch.cat(points)), speakers, generated)


def read_speakers(folder: Path) -> dict[str, str]:
    """Speaker by file name from an INDEX.tsv in the folder or one up; the part of a name before two
    underscores is the default."""
    for index in (Path(folder) / "INDEX.tsv", Path(folder).parent / "INDEX.tsv"):
        if index.is_file():
            with index.open(newline="", encoding="utf-8") as stream:
                return {
                    Path(r["file"]).stem: r["speaker"]
                    for r in csv.DictReader(stream, delimiter="\t")
                    if r.get("speaker")
                }
    return {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    add_clip_options(parser)
    parser.add_argument("--figure", type=Path, help="where to draw Figure 5 (SVG)")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The answers for a folder of videos; draws Figure 5 where it is asked for."""
    models = load_models(DubOptions(), folder=args.weights, parts=("speech",))
    metric = load_style_metric(resolve_weights("style_metric").path)
    clips = read_clips(args.data, models, load_judge(args.pretrained), args.cache)
    listed = read_speakers(args.data)
    speakers = [listed.get(clip.name, clip.name.split("__")[0]) for clip in clips]
    judges = {"the generator's style": own_style(models), "StyleSim": judged_style(metric)}
    lines = []
    motions = pieces([motion_of(c, models) for c in clips], speakers)
    for name, judge in judges.items():
        shares = nearest_speaker(motions, judge)
        mean = sum(shares.values()) / max(len(shares), 1)
        each = ", ".join(f"{speaker} {share:.0%}" for speaker, share in shares.items())
        lines.append(f"1-NN by {name}: {mean:.1%} over {len(shares)} speakers ({each})")
    for name, answers in swaps(clips, models, judges).items():
        lines.append(
            f"swaps by {name}: " + ", ".join(f"{words} {share:.1%}" for words, share in answers.items())
        )
    reached = ", ".join(f"strength {s:g}: {v:.2f}" for s, v in strengths(clips, models).items())
    middle, between = mixes(clips, models)
    lines.append(f"way from the average speaker to the person: {reached}")
    lines.append(
        f"even mixes lie at {middle:.2f} of the way from one person to the other, {between:.0%} of them "
        "between the two"
    )
    if args.figure:
        args.figure.write_text(figure(clips, models, metric), encoding="utf-8")
        lines.append(f"{args.figure}")
    return "\n".join(lines)
