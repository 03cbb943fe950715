"""Clips that teach the speech stage, and windows of them, augmented and batched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...checks import check_shape
from ...config import SAMPLES_PER_FRAME
from .augmentation import Mirror, augment_sound, change_voice
from .losses import MouthMeasure

CONTEXT = 12_000  # samples of sound to either side of a window
EDGE_FRAMES = 3  # around an inserted silence nothing is asked of the mouth
SILENCE_FLOOR = 1e-4
CLOSED_SHARE = (
    0.15  # of a person's range of opening that counts as closed, as in ``evaluation/metrics/lip_closure.py``
)


@dataclass(frozen=True, eq=False)
class SpeechClip:
    """One clip of one person.

    samples (S,) float32 at 16 kHz; sample 0 sounds when frame 0 begins.  expression (T, E_low) at 25 fps.
    valid (T,) bool: a usable face.  identity (A,).  lag: frames by which the mouth comes later than its
    sound.
    """

    name: str
    speaker: str
    samples: np.ndarray
    expression: Tensor
    valid: Tensor
    identity: Tensor
    lag: float = 0.0

    def __post_init__(self) -> None:
        check_shape("clip samples", self.samples, "S")
        frames = check_shape("clip expression", self.expression, "T", "E")["T"]
        check_shape("clip valid", self.valid, frames)

    @property
    def frame_count(self) -> int:
        return len(self.expression)


@dataclass(frozen=True, eq=False)
class SpeechBatch:
    """samples (B, S); origin: sample where frame 0 begins; expression (B, T, E_low); valid (B, T) float;
    silent (B, T) float: frames of inserted silence; closed (B, T) float: frames in which this person's lips
    are closed; style_expression (B, T', E_low) and style_weight (B, T'): how the speaker speaks; identity (B,
    A); weight (B,): importance; quiet mouths count as much as lively ones."""

    samples: Tensor
    origin: int
    expression: Tensor
    valid: Tensor
    silent: Tensor
    closed: Tensor
    style_expression: Tensor
    style_weight: Tensor
    identity: Tensor
    weight: Tensor

    def to(self, device: torch.device | str) -> SpeechBatch:
        """The same batch on another device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})


class WindowSampler:
    """Draws augmented windows; the same seed and step give the same batch, so training can resume anywhere.

    Args:
        clips:        at least one.
        measure:      of the mouth, to know when it rests.
        frames:       T of a window.
        style_frames: T' given to the style encoder, at most.
        augment:      False gives the plain windows.
        mirror:       of the face model; half of the augmented windows are seen in it. None: no window is.
    """

    def __init__(
        self,
        clips: list[SpeechClip],
        measure: MouthMeasure,
        frames: int = 100,
        style_frames: int = 200,
        seed: int = 0,
        augment: bool = True,
        mirror: Mirror | None = None,
    ) -> None:
        self.clips, self.frames, self.style_frames, self.seed, self.augment = (
            clips,
            frames,
            style_frames,
            seed,
            augment,
        )
        self.mirror = mirror
        self.by_speaker: dict[str, list[int]] = {}
        for index, clip in enumerate(clips):
            self.by_speaker.setdefault(clip.speaker, []).append(index)
        length = {s: sum(clips[i].frame_count for i in ids) for s, ids in self.by_speaker.items()}
        share = np.array([length[c.speaker] ** 0.5 * c.frame_count / length[c.speaker] for c in clips])
        self.share = share / share.sum()
        spread = np.array([float(c.expression[c.valid].var(0).sum()) for c in clips])
        self.weight = np.clip(np.median(spread) / spread, 0.4, 2.5) ** 0.5
        self.rest = [rest_expression(c, measure) for c in clips]
        self.closed = [closed_frames(c, measure) for c in clips]

    def batch(self, size: int, step: int) -> SpeechBatch:
        """The batch of a step."""
        rng = np.random.default_rng((self.seed, step))
        items = [self._item(int(i), rng) for i in rng.choice(len(self.clips), size, p=self.share)]
        stacked = {k: torch.stack([item[k] for item in items]) for k in items[0]}
        return SpeechBatch(origin=CONTEXT, **stacked)

    def _item(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        clip = self.clips[index]
        speed = rng.uniform(0.88, 1.14) if self.augment and rng.random() < 0.7 else 1.0
        room = clip.frame_count - self.frames * speed
        first = rng.uniform(min(0.0, room), max(0.0, room))
        place = first + speed * (np.arange(self.frames) + 0.5) - 0.5  # clip frame shown by each window frame
        expression, valid = _at(clip.expression, clip.valid, place)
        samples = window_sound(clip, first, self.frames, speed)
        silent, closed = (
            torch.zeros(self.frames),
            self.closed[index][np.rint(place).clip(0, clip.frame_count - 1).astype(int)],
        )
        style, style_weight = self._style(index, rng)
        identity, rest = clip.identity, self.rest[index]
        if self.augment:
            gain = torch.from_numpy(
                np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, len(rest))).astype(np.float32)
            )
            shift = torch.from_numpy(rng.normal(0, 0.15, len(rest)).astype(np.float32))
            # closed lips stay closed
            expression, style = (rest + shift + gain * (x - rest) for x in (expression, style))
            rest = rest + shift
            if self.mirror is not None and rng.random() < 0.5:
                expression, style, rest = (x @ self.mirror.expression for x in (expression, style, rest))
                identity = identity @ self.mirror.identity
            if rng.random() < 0.6:
                samples = change_voice(samples, float(np.clip(np.exp(rng.normal(0, 0.14)), 0.7, 1.4)))
            samples = augment_sound(samples, rng, self.clips[int(rng.integers(len(self.clips)))].samples)
            if rng.random() < 0.25:
                expression, valid, silent = _insert_silence(samples, expression, valid, rest, rng)
                closed = torch.maximum(closed, silent)
        return {
            "samples": torch.from_numpy(samples),
            "expression": expression,
            "valid": valid.float(),
            "silent": silent,
            "closed": closed,
            "style_expression": style,
            "style_weight": style_weight,
            "identity": identity,
            "weight": torch.tensor(self.weight[index], dtype=torch.float32),
        }

    def _style(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Frames that show how this person speaks: another clip of theirs, or a random stretch of this
        one."""
        others = [i for i in self.by_speaker[self.clips[index].speaker] if i != index]
        clip = self.clips[others[int(rng.integers(len(others)))] if others and rng.random() < 0.5 else index]
        frames = clip.expression[clip.valid]
        length = min(len(frames), self.style_frames, max(25, int(len(frames) * rng.uniform(0.4, 1.0))))
        begin = int(rng.integers(len(frames) - length + 1))
        expression = torch.zeros(self.style_frames, frames.shape[1])
        expression[:length] = frames[begin : begin + length]
        weight = torch.zeros(self.style_frames)
        weight[:length] = 1.0
        return expression, weight


def window_sound(clip: SpeechClip, first: float, frames: int, speed: float = 1.0) -> np.ndarray:
    """Samples of a window that begins at a (fractional) frame, with CONTEXT to either side, played at
    ``speed``; silence where the clip has none."""
    count = frames * SAMPLES_PER_FRAME + 2 * CONTEXT
    place = (first - clip.lag) * SAMPLES_PER_FRAME + speed * (np.arange(count) - CONTEXT)
    return np.interp(place, np.arange(len(clip.samples)), clip.samples, left=0.0, right=0.0).astype(
        np.float32
    )


def rest_expression(clip: SpeechClip, measure: MouthMeasure) -> Tensor:
    """(E_low,) how this person's mouth rests: the mean over the tenth of the frames in which it is least
    open."""
    frames = clip.expression[clip.valid]
    opening = measure(frames[None], clip.identity[None])[0][0]
    return frames[opening <= opening.quantile(0.1)].mean(0)


def closed_frames(clip: SpeechClip, measure: MouthMeasure) -> Tensor:
    """(T,) float, 1 where this person's lips count as closed: in the lowest part of the range of openings."""
    opening = measure(clip.expression[None], clip.identity[None])[0][0]
    low, high = (opening[clip.valid].quantile(q) for q in (0.05, 0.95))
    return (opening <= low + CLOSED_SHARE * (high - low)).float() * clip.valid


def _at(expression: Tensor, valid: Tensor, place: np.ndarray) -> tuple[Tensor, Tensor]:
    """Expression (T, E) and validity (T,) at fractional clip frames; outside the clip nothing is valid."""
    inside = (place >= -0.5) & (place <= len(expression) - 0.5)
    place = np.clip(place, 0, len(expression) - 1)
    left = torch.from_numpy(np.minimum(place.astype(int), len(expression) - 2))
    fraction = torch.from_numpy((place - left.numpy()).astype(np.float32))[:, None]
    value = expression[left] * (1 - fraction) + expression[left + 1] * fraction
    return value, valid[left] & valid[left + 1] & torch.from_numpy(inside)


def _insert_silence(
    samples: np.ndarray, expression: Tensor, valid: Tensor, rest: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Silence 0.4 to 1.6 s of the window, in place in ``samples``; the mouth is asked to rest there."""
    frames = len(expression)
    length = int(rng.integers(10, 41))
    begin = int(rng.integers(-length // 2, frames - length // 2))
    end = begin + length
    low, high = CONTEXT + begin * SAMPLES_PER_FRAME, CONTEXT + end * SAMPLES_PER_FRAME
    low, high = max(low, 0), min(high, len(samples))
    loudness = float(np.abs(samples).max())
    samples[low:high] *= 0.0
    samples[low:high] += (
        rng.standard_normal(high - low).astype(np.float32)
        * loudness
        * SILENCE_FLOOR
        * 10 ** rng.uniform(0, 1.5)
    )
    index = torch.arange(frames)
    silent = (index >= begin + EDGE_FRAMES) & (index < end - EDGE_FRAMES)
    edges = (index >= begin - EDGE_FRAMES) & (index < end + EDGE_FRAMES)
    expression = torch.where(silent[:, None], rest, expression)
    return expression, (valid & ~edges) | silent, silent.float()
