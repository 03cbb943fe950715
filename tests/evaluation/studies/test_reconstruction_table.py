"""The renderer's own table: frames read and encoded once, rows that differ, sheets, numbers with known
answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.dubbing import frame_renderer as video_rendering
from personatalk_core.dubbing.frame_renderer import FrameRenderer
from personatalk_core.evaluation import reconstruct as reconstruct_module
from personatalk_core.evaluation.metrics.reconstruction import region_masks
from personatalk_core.evaluation.studies import reconstructed_clip
from personatalk_core.evaluation.studies import reconstruction_table as module
from personatalk_core.evaluation.studies.reconstructed_clip import ReconstructedClip, Reconstruction
from personatalk_core.evaluation.studies.reconstruction_sheet import write_reconstruction_sheet
from personatalk_core.evaluation.studies.reconstruction_table import (
    TITLES,
    Row,
    markdown,
    reconstruction_table,
    score,
)
from personatalk_core.geometry.vertices import posed_vertices
from personatalk_core.models import load_models
from personatalk_core.rendering.references import ReferenceOptions
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.types import FaceGeometry

FRAMES, SIDE = 20, 160


@pytest.fixture(scope="module")
def models():
    return load_models(DubOptions(device="cpu"), parts=("renderer",))


@pytest.fixture(scope="module")
def painted(models, tmp_path_factory) -> tuple[Path, FaceGeometry]:
    """A video of a painted face whose mouth opens and shuts, and its geometry."""
    face_model, path = models.face_model, tmp_path_factory.mktemp("painted") / "ann.mp4"
    expression = torch.zeros(FRAMES, face_model.expression_count)
    expression[:, 0] = torch.linspace(-1.5, 1.5, FRAMES).round(decimals=1)
    geometry = FaceGeometry(
        identity=torch.zeros(face_model.identity_count),
        expression=expression,
        rotation=torch.zeros(FRAMES, 3),
        translation=torch.full((FRAMES, 2), 80.0),
        scale=torch.full((FRAMES,), 48.0),
        status=torch.zeros(FRAMES, dtype=torch.uint8),
        shot=torch.zeros(FRAMES, dtype=torch.int64),
        source_frame=torch.arange(FRAMES),
        times=torch.arange(FRAMES) / 25.0,
        durations=torch.full((FRAMES,), 0.04),
        frame_size=(SIDE, SIDE),
        face_model=face_model.sha256,
    )
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (SIDE, SIDE))
    for points in posed_vertices(geometry, face_model):
        surface = draw_surface(points[None], face_model, SIDE)[0]
        colour = surface.interpolate(face_model.pncc_colour).clamp(0, 1) * 0.8
        writer.write(np.ascontiguousarray((colour.permute(1, 2, 0) * 255).byte().numpy()[..., ::-1]))
    writer.release()
    return path, geometry


def test_a_perfect_rendering_scores_perfectly(models, painted):
    clip = ReconstructedClip(*painted, models.face_model, size=256)
    clip._read({4, 5})
    frames = [
        Reconstruction(i, clip.truth(i), clip.truth(i), clip.points[i], torch.tensor(0.1)) for i in (4, 5)
    ]
    found = score(frames, models.face_model)
    assert set(found) == set(TITLES) and found["frames"] == 2.0
    assert (
        found["psnr_lips"] > 90
        and found["ssim_whole"] == pytest.approx(1.0, abs=1e-4)
        and found["gmsd"] == pytest.approx(0.0, abs=1e-4)
    )
    assert (
        found["detail_lips"] == pytest.approx(1.0)
        and found["flicker"] == pytest.approx(1.0)
        and found["pairs"] == 1.0
    )


def test_teeth_that_change_count_as_tooth_flicker_only(models, painted):
    clip = ReconstructedClip(*painted, models.face_model, size=256)
    clip._read({0, 1})
    inside = region_masks(clip.points[:2], models.face_model, 256).inside
    assert 50 < int(inside[1].sum()) < 5000
    shown = [
        Reconstruction(i, clip.truth(i), clip.truth(i), clip.points[i], torch.tensor(0.1)) for i in (0, 1)
    ]
    steady = score(shown, models.face_model)
    shown[1] = replace(shown[1], image=shown[1].truth + 0.2 * inside[1])
    changed = score(shown, models.face_model)
    assert changed["tooth_flicker"] > 2 * max(steady["tooth_flicker"], 1.0)
    assert changed["tooth_flicker"] / steady["tooth_flicker"] > 3 * changed["flicker"] / steady["flicker"]


def test_every_reference_is_encoded_once_for_all_rows(models, painted, monkeypatch, tmp_path):
    encoded: list[int] = []
    one = reconstructed_clip.encode_references
    monkeypatch.setattr(
        reconstructed_clip, "encode_references", lambda *a: encoded.append(len(a[1])) or one(*a)
    )
    monkeypatch.setattr(module, "cached_geometry", lambda *_: painted[1])
    options = ReferenceOptions(lip_count=6, face_count=2, exclude_window=3)
    rows = {
        "six": Row(options, size=256),
        "one": Row(replace(options, lip_count=1), size=256),
        "random": Row(options, size=256, random=0),
        "around": Row(options, size=256, around=True),
    }
    table = reconstruction_table([painted[0]], rows, models, every=5, limit=4, sheets=tmp_path)
    assert sum(encoded) <= FRAMES
    assert all(table[name]["ann"]["frames"] == 4.0 for name in rows)
    assert table["six"]["ann"]["psnr_lips"] != table["one"]["ann"]["psnr_lips"]
    assert table["six"]["ann"]["psnr_face"] > 25
    text = markdown(table)
    assert "| six |" in text and "| ann |" in text
    assert all(cv2.imread(str(tmp_path / name / "ann.png")).shape[1] == 5 * 256 for name in rows)


def test_frames_come_in_pairs_and_keep_their_distance(models, painted):
    clip = ReconstructedClip(*painted, models.face_model)
    assert clip.targets() == list(range(FRAMES))
    assert clip.targets(every=8) == [0, 1, 8, 9, 16, 17] and clip.targets(every=5, limit=4) == [0, 1, 15, 16]
    options = ReferenceOptions(lip_count=4, face_count=3, exclude_window=6)
    for random in (None, 1):
        chosen = clip.references([3, 12], options, random)
        assert chosen.face.shape == (2, 3)
        assert int((chosen.face - torch.tensor([[3], [12]])).abs().min()) >= 6
    near, allowed = clip.around([3, 12], options)
    assert near.lip[allowed[0]].tolist() == [9, 10, 11, 12] and near.lip[allowed[1]].tolist() == [
        5,
        6,
        18,
        19,
    ]


def test_sheets_show_closed_and_open_mouths(models, painted, tmp_path):
    clip = ReconstructedClip(*painted, models.face_model, size=256)
    clip._read(set(range(FRAMES)))
    frames = [
        Reconstruction(i, clip.truth(i), clip.truth(i), clip.points[i], clip.opening[i])
        for i in range(FRAMES)
    ]
    write_reconstruction_sheet(tmp_path / "sheet.png", frames, models.face_model, shown=3)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (3 * 256, 5 * 256, 3)
    assert int(picture[:, 512:768].max()) == 0  # output and source are the same


def test_the_verb_encodes_no_reference_twice_when_alike_ones_come_from_all_over_the_clip(
    models, painted, monkeypatch, tmp_path
):
    path, geometry = painted
    # two frames alike lie far apart
    order = [
        0,
        19,
        1,
        18,
        2,
        17,
        3,
        16,
        4,
        15,
        5,
        14,
        6,
        13,
        7,
        12,
        8,
        11,
        9,
        10,
    ]
    shuffled = replace(geometry, expression=geometry.expression[order])
    monkeypatch.setattr(reconstruct_module, "estimate_geometry", lambda *a: shuffled)
    monkeypatch.setattr(video_rendering, "BATCH", 2)
    encoded: list[int] = []
    one = FrameRenderer.encode_chunk
    counted = staticmethod(lambda *a: encoded.append(len(a[1])) or one(*a))
    monkeypatch.setattr(FrameRenderer, "encode_chunk", counted)
    options = DubOptions(device="cpu", exclude_window=3, lip_references=4, face_references=2)
    report = reconstruct_module.reconstruct(path, tmp_path / "out.mp4", models, options)
    assert report.metrics["frames"] == FRAMES
    assert sum(encoded) <= 4 + FRAMES  # the lip references, and each frame once
    plain = replace(options, exclude_window=0)
    assert (
        reconstruct_module.reconstruct(path, tmp_path / "plain.mp4", models, plain).metrics["frames"]
        == FRAMES
    )
