"""What lies before the sample's mouth stays the source's in the dub and smears over no frame around it; what
grows there moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.compose.masks import lower_face_mask
from personatalk_core.compose.occlusion import ENOUGH, OcclusionDetector
from personatalk_core.config import DubOptions
from personatalk_core.dubbing import frame_renderer as video_rendering
from personatalk_core.dubbing.run import Run
from personatalk_core.dubbing.write_dub import paste
from personatalk_core.evaluation.metrics.image_quality import seam_visibility
from personatalk_core.geometry.vertices import posed_vertices
from personatalk_core.rendering.references import ReferenceSelection
from personatalk_core.rendering.surface import draw_surface

FRAMES = 36  # of the sample
HELD = range(18, 24)  # a microphone is before the mouth
SHOWN = [16, 19, 20, 21, 26]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The sample's geometry with the mouths of other frames, what renders it, and where the mouth is in each
    frame."""
    from personatalk_core import pipeline
    from personatalk_core.media.array_files import write_frames
    from personatalk_core.media.video_reader import probe
    from personatalk_core.models import load_models
    from personatalk_core.samples.demo import sample_frames

    video = write_frames(tmp_path_factory.mktemp("clip") / "clip.mp4", sample_frames()[:FRAMES], FRAMES, 15)
    options = DubOptions(device="cpu")
    models, info = load_models(options, parts=("renderer",)), probe(video)
    source = pipeline.estimate_geometry(info, Run(models, options))
    target = source[SHOWN]
    expression = target.expression.clone()
    lower = models.face_model.lower_count
    expression[:, :lower] = source.expression[[2, 4, 6, 8, 10], :lower]
    face = torch.tensor([[i, i - 1, i + 1] for i in SHOWN])
    references = ReferenceSelection(lip=torch.arange(0, FRAMES, 3), face=face)
    mouth = posed_vertices(source, models.face_model)[:, models.face_model.outer_lips, :2].mean(dim=1).numpy()
    return info, source, replace(target, expression=expression), references, models, options, mouth


def microphone(shape: tuple[int, ...], mouth: np.ndarray, number: int) -> np.ndarray:
    """(H, W) bool: a ball on a stick that wanders before the mouth."""
    at = (int(mouth[0]) + 5 * (number - 20), int(mouth[1]) + 18)
    drawn = cv2.circle(np.zeros(shape[:2], np.uint8), at, 26, 1, -1)
    return cv2.line(drawn, at, (at[0] + 20, shape[0]), 1, 14) > 0


class DrawnInto(video_rendering.VideoReader):
    """The video with something drawn into its frames by :meth:`drawn`."""

    def frames(self, index: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        numbers: list[int] = []

        def told() -> Iterator[int]:
            for i in index:
                numbers.append(int(i))
                yield int(i)

        for place, frame in enumerate(super().frames(told())):
            yield self.drawn(numbers[place], frame)


class HeldMicrophone(DrawnInto):
    """The video with the microphone drawn into some frames."""

    mouth: np.ndarray

    def drawn(self, number: int, frame: np.ndarray) -> np.ndarray:
        if number not in HELD:
            return frame
        return np.where(
            microphone(frame.shape, self.mouth[number], number)[..., None], np.uint8([30, 32, 36]), frame
        )


def render(scene, reader, monkeypatch) -> list[video_rendering.RenderedFrame]:
    info, source, target, references, models, options, _ = scene
    monkeypatch.setattr(video_rendering, "VideoReader", reader)
    target = replace(target, reference=source)
    return list(video_rendering.FrameRenderer(info, target, references, Run(models, options)))


def test_the_microphone_stays_the_sources(scene, monkeypatch):
    HeldMicrophone.mouth = scene[-1]
    for item, number in zip(render(scene, HeldMicrophone, monkeypatch), SHOWN, strict=True):
        frame, mask = paste(item, 1.0)
        change = np.abs(frame.astype(int) - item.frame).max(axis=2)
        if number in HELD:
            held = microphone(frame.shape, scene[-1][number], number)
            assert (change[held] <= 3).mean() > 0.9
        else:  # no dark ghost of it before or after
            assert (mask > 0.5).sum() > 1000 and float(
                item.frame[mask > 0.9].mean() - frame[mask > 0.9].mean()
            ) < 6
            assert change.max() > 30  # the mouth is another


def test_a_bare_face_is_pasted_whole_and_shows_no_seam(scene, monkeypatch):
    _, _, _, _, models, _, _ = scene
    seams = []
    for item in render(scene, video_rendering.VideoReader, monkeypatch):
        soft = lower_face_mask(item.source_points, item.target_points, models.face_model, item.crop.shape[-1])
        assert float((item.paste_mask - soft).abs().max()) == 0.0
        frame, mask = paste(item, 1.0)
        pictures = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (frame, item.frame)]
        hard = np.where((mask > 0.2)[..., None], frame // 2 + 100, item.frame)  # what a visible seam measures
        seams.append(
            [
                float(seam_visibility(p, pictures[1], torch.from_numpy(mask)[None, None]))
                for p in (pictures[0], torch.from_numpy(hard).permute(2, 0, 1)[None].float() / 255)
            ]
        )
    ours, visible = np.median(seams, axis=0)
    assert ours < 8.0 and ours < 0.6 * visible


class Bearded(DrawnInto):
    """The video with a drawn beard and moustache, of dark strands that move with the skin, in every frame."""

    scene: tuple

    def drawn(self, number: int, frame: np.ndarray) -> np.ndarray:
        hair = strands(self.scene[1][[number]], self.scene[4].face_model, frame.shape[0])
        return (frame * (1 - 0.7 * hair[..., None])).round().astype(np.uint8)


def strands(geometry, face_model, size: int) -> np.ndarray:
    """(size, size) in [0, 1]: where the strands are on the face of one frame, in the frame's own pixels."""
    mean, lips = face_model.mean, face_model.mean[face_model.outer_lips]
    low, high, middle = float(lips[:, 1].min()), float(lips[:, 1].max()), float(lips[:, 0].mean())
    beside = (mean[:, 0] - middle).abs() < 0.6 * float(lips[:, 0].max() - lips[:, 0].min())
    nearest = torch.cdist(mean, lips).amin(dim=1)
    grown = beside & (nearest > 0.02) & ((mean[:, 1] < low) | ((mean[:, 1] > high) & (nearest < 0.12)))
    values = torch.cat([mean, grown[:, None].float()], dim=1)  # (V, 4)
    drawn = draw_surface(posed_vertices(geometry, face_model), face_model, size)[0].interpolate(values)
    return (drawn[3] * (0.5 + 0.5 * torch.sin(90 * drawn[0] + 4 * torch.sin(9 * drawn[1])))).numpy()


def fine(picture: np.ndarray) -> np.ndarray:
    grey = picture.astype(np.float32).mean(axis=2)
    return grey - cv2.GaussianBlur(grey, (0, 0), 2.0)


def test_a_beard_and_a_moustache_move_with_the_new_mouth(scene, monkeypatch):
    """They are skin like any other: not judged to lie before the face, carried to the new geometry, and as
    crisp as they were."""
    _, source, target, _, models, _, _ = scene
    Bearded.scene = scene
    strengths, likeness = [], []
    for item, number in zip(render(scene, Bearded, monkeypatch), SHOWN, strict=True):
        soft = lower_face_mask(item.source_points, item.target_points, models.face_model, item.crop.shape[-1])
        # nothing of it stays behind as covered
        assert float((item.paste_mask - soft).abs().mean()) < 0.02 * float(soft.mean())
        frame, mask = paste(item, 1.0)
        old, new = (
            strands(g[[k]], models.face_model, frame.shape[0])
            for g, k in ((source, number), (target, item.index))
        )
        where = (mask > 0.8) & (cv2.GaussianBlur(new, (0, 0), 3.0) > 0.15)
        before = (mask > 0.8) & (cv2.GaussianBlur(old, (0, 0), 3.0) > 0.15)
        assert where.sum() > 300
        strengths.append(fine(frame)[where].std() / fine(item.frame)[before].std())
        likeness.append(
            [
                -np.corrcoef(fine(frame)[where], fine(np.repeat(h[..., None], 3, axis=2))[where])[0, 1]
                for h in (new, old)
            ]
        )
    at_new, at_old = np.median(likeness, axis=0)
    assert at_new > 0.7 and at_new > at_old
    assert 0.75 < np.median(strengths) < 1.25


def test_too_few_references_judge_nothing(scene):
    models = scene[4]
    pixels, points = (
        torch.rand(ENOUGH - 1, 3, 256, 256),
        256 * torch.rand(ENOUGH - 1, models.face_model.vertex_count, 3),
    )
    few = OcclusionDetector(models.face_model, pixels, points)
    assert few.observed(7) and bool((few.visibility(7) == 1).all())
    assert not bool(few.mask(7, [6, 8], torch.zeros(models.face_model.vertex_count, 3), 256).any())
