"""Training the renderer: losses with known answers, prepared clips, a loop that learns, resumes and writes
its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.vertices import posed_vertices
from personatalk_core.rendering.references import ReferenceOptions
from personatalk_core.rendering.renderer import RendererConfig, build_renderer, load_renderer
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.training.recipe import TrainOptions, read_recipe
from personatalk_core.training.renderer.ablations import LOSSES, UNTRAINED, renderer_ablations, table
from personatalk_core.training.renderer.data import (
    ExampleSampler,
    choose_frames,
    load_clip,
    prepare_clip,
)
from personatalk_core.training.renderer.discriminator import (
    PatchDiscriminator,
    gan_loss,
    generator_loss,
    mouth_cut,
)
from personatalk_core.training.renderer.losses import (
    RendererLossWeights,
    gradient_loss,
    loss_weight,
    pixel_loss,
    renderer_loss,
    steerable_kernels,
    steerable_loss,
)
from personatalk_core.training.renderer.task import RendererTraining
from personatalk_core.training.renderer.train import train_renderer
from personatalk_core.training.trainer import STATE_FILE, load_state
from personatalk_core.types import FaceGeometry, FrameStatus

FRAMES = 44
SMALL = RendererConfig(width=8, attention_width=4, decoder_width=8)
SHORT = RendererTraining(check_every=2, targets=1, references=ReferenceOptions(2, 2, 4), accumulate=1)


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


def geometry(face_model, seed: int) -> FaceGeometry:
    generator = torch.Generator().manual_seed(seed)
    expression = torch.zeros(FRAMES, face_model.expression_count)
    expression[:, :2] = torch.randn(FRAMES, 2, generator=generator)
    return FaceGeometry(
        identity=torch.zeros(face_model.identity_count),
        expression=expression,
        rotation=torch.zeros(FRAMES, 3),
        translation=torch.full((FRAMES, 2), 100.0),
        scale=torch.full((FRAMES,), 60.0),
        status=torch.zeros(FRAMES, dtype=torch.uint8),
        shot=torch.zeros(FRAMES, dtype=torch.int64),
        source_frame=torch.arange(FRAMES),
        times=torch.arange(FRAMES) / 25.0,
        durations=torch.full((FRAMES,), 0.04),
        frame_size=(200, 200),
        face_model=face_model.sha256,
    )


@pytest.fixture(scope="module")
def folder(face_model, tmp_path_factory):
    """Two prepared clips of two painted people."""
    target = tmp_path_factory.mktemp("clips")
    for seed, speaker in enumerate(("ann", "bob")):
        clip = geometry(face_model, seed)

        def read(numbers, clip=clip):
            for i in numbers:
                surface = draw_surface(posed_vertices(clip, face_model)[i : i + 1], face_model, 200)[0]
                colour = surface.interpolate(face_model.pncc_colour) * 0.8
                yield (colour.permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()

        assert (
            prepare_clip(
                read, clip, face_model, target / f"{speaker}.safetensors", speaker=speaker, limit=42, stride=1
            )
            is not None
        )
    return target


def test_losses_are_zero_for_the_truth_and_count_the_lips_more():
    truth, lip, face = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    lip[..., 4:8, 4:8] = 1.0
    total, terms = renderer_loss(truth, truth, lip, face, RendererLossWeights())
    assert float(total) == 0.0 and set(terms) == {"pixel", "gradient", "pyramid", "perceptual"}
    weight = loss_weight(lip, face, RendererLossWeights(lips=4.0, surround=0.1))
    assert float(weight[0, 0, 5, 5]) == 4.0 and float(weight[0, 0, 0, 0]) == 1.0
    assert float(loss_weight(lip, face * 0, RendererLossWeights(surround=0.1))[0, 0, 0, 0]) == pytest.approx(
        0.1
    )
    assert float(pixel_loss(truth + 0.25, truth, weight)) == pytest.approx(0.25, abs=1e-5)
    assert float(gradient_loss(truth + 0.25, truth, weight)) == pytest.approx(0.0, abs=1e-5)


def test_prepared_clips_hold_what_was_filmed(folder, face_model):
    clip = load_clip(folder / "ann.safetensors")
    assert clip.speaker == "ann" and clip.frame_count == 42
    frames = clip.read(torch.tensor([7, 3, 7]))
    assert frames.crops.shape == (3, 3, 256, 256) and torch.equal(frames.points[0], frames.points[2])
    inside = frames.geometry[0, :3].sum(dim=0) > 0.5
    error = (frames.crops[0] - frames.geometry[0, :3] * 0.8).abs()[:, inside]
    # the painting is the drawn geometry, so crop and geometry lie on each other
    assert float(error.mean()) < 0.03


def test_only_usable_frames_of_one_shot_are_kept(face_model):
    clip = geometry(face_model, 0)
    status, shot = clip.status.clone(), clip.shot.clone()
    status[5], shot[30:] = int(FrameStatus.NO_FACE), 1
    chosen = choose_frames(replace(clip, status=status, shot=shot), 100, 1)
    assert 5 not in chosen.tolist() and int(chosen.max()) == 29
    short = prepare_clip(
        lambda numbers: [np.zeros((200, 200, 3), np.uint8) for _ in numbers],
        replace(clip, shot=shot),
        face_model,
        None,
        speaker="x",
    )
    assert short is None


def test_examples_repeat_with_their_seed_and_keep_their_distance(folder, face_model):
    clips = [load_clip(p) for p in sorted(folder.glob("*.safetensors"))]
    sampler = ExampleSampler(clips, face_model, ReferenceOptions(3, 2, 10), 20, seed=1)
    first, again, other = sampler.example(0), sampler.example(0), sampler.example(1)
    assert torch.equal(first.target.points, again.target.points) and torch.equal(
        first.lip.crops, again.lip.crops
    )
    assert not torch.equal(first.target.points, other.target.points)
    assert first.lip.crops.shape[0] == 3 and first.face.crops.shape[0] == 2


def test_training_learns_resumes_and_writes_weights(folder, face_model, tmp_path):
    more = {"recipe": SHORT, "config": SMALL, "face_model": face_model}
    train_renderer(folder, tmp_path, TrainOptions(steps=2), **more)
    seen = []
    path = train_renderer(
        folder, tmp_path, TrainOptions(steps=4), lambda done, total: seen.append(done), **more
    )
    assert seen == [3, 4]  # it went on where it stopped
    history = json.loads((tmp_path / "history.json").read_text())
    assert [entry["step"] for entry in history] == [0, 2, 4]
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == [
        "000000.png",
        "000002.png",
        "000004.png",
    ]
    assert load_renderer(path).config == SMALL


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_training_on_a_gpu_gives_about_what_a_cpu_gives(folder, face_model, tmp_path, device):
    if not {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[device]:
        pytest.skip(f"this machine has no {device} device; the same loop is tested on the CPU")
    losses = []
    for there in ("cpu", device):
        path = train_renderer(
            folder,
            tmp_path / there,
            TrainOptions(steps=4, device=there),
            recipe=SHORT,
            config=SMALL,
            face_model=face_model,
        )
        losses.append(
            [entry["total"] for entry in json.loads((tmp_path / there / "history.json").read_text())[1:]]
        )
        assert load_renderer(path).config == SMALL
    assert np.allclose(*losses, rtol=0.02)


def test_one_speaker_is_not_enough(folder, face_model, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "ann.safetensors").write_bytes((folder / "ann.safetensors").read_bytes())
    with pytest.raises(OptionsError, match="speakers"):
        train_renderer(tmp_path / "one", tmp_path / "out", TrainOptions(steps=1), face_model=face_model)


def test_perceptual_loss_sees_a_missing_line_and_not_itself():
    truth, weight = torch.full((1, 3, 32, 32), 0.5), torch.ones(1, 1, 32, 32)
    line = truth.clone()
    line[..., 16] = 0.2
    assert float(steerable_loss(line, line, weight)) == 0.0
    near, far = torch.zeros_like(weight), torch.zeros_like(weight)
    near[..., 12:20], far[..., :4] = 1.0, 1.0
    assert (
        float(steerable_loss(truth, line, near, levels=1))
        > 0.2
        > 1e-4
        > float(steerable_loss(truth, line, far, levels=1))
    )
    kernels = steerable_kernels()
    assert float(kernels.sum(dim=(1, 2, 3)).abs().max()) < 1e-6  # flat skin gives no response


def test_the_discriminator_learns_to_tell_and_is_shown_the_mouth():
    lip = torch.zeros(1, 1, 128, 128)
    lip[..., 80:100, 40:90] = 1.0
    rows, columns = mouth_cut(lip)
    assert rows.start <= 80 and rows.stop >= 100 and columns.start <= 40 and columns.stop >= 90
    torch.manual_seed(0)
    discriminator, truth, image = (
        PatchDiscriminator(8),
        torch.rand(1, 3, 48, 48),
        torch.full((1, 3, 48, 48), 0.5),
    )
    optimiser = torch.optim.Adam(discriminator.parameters(), 1e-2)
    before = float(gan_loss(discriminator, image, truth).detach())
    for _ in range(20):
        optimiser.zero_grad()
        gan_loss(discriminator, image, truth).backward()
        optimiser.step()
    assert float(gan_loss(discriminator, image, truth).detach()) < before
    assert float(generator_loss(discriminator, image).detach()) > float(
        generator_loss(discriminator, truth).detach()
    )


def test_adversarial_training_resumes_with_its_discriminator(folder, face_model, tmp_path):
    recipe = replace(SHORT, loss=RendererLossWeights(adversarial=0.01))
    more = {"recipe": recipe, "config": SMALL, "face_model": face_model}
    train_renderer(folder, tmp_path, TrainOptions(steps=2), **more)
    path = train_renderer(folder, tmp_path, TrainOptions(steps=3), **more)
    last = json.loads((tmp_path / "history.json").read_text())[-1]
    assert {"adversarial", "discriminator", "perceptual"} <= set(last) and load_renderer(path).config == SMALL


def test_interrupted_training_gives_what_uninterrupted_training_gives(folder, face_model, tmp_path):
    more = {"recipe": SHORT, "config": SMALL, "face_model": face_model}
    train_renderer(folder, tmp_path / "a", TrainOptions(steps=4), **more)

    def stop(done: int, total: int) -> None:
        if done == 3:  # one step after the last one that was kept
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_renderer(folder, tmp_path / "b", TrainOptions(steps=4), stop, **more)
    train_renderer(folder, tmp_path / "b", TrainOptions(steps=4), **more)
    first, second = (load_renderer(tmp_path / name / "renderer.safetensors").state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_recipes_and_held_out_speakers_are_checked(folder, face_model, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"steps": 7, "loss": {"perceptual": 0.0}, "references": {"lip_count": 3}}')
    options = read_recipe(recipe, RendererTraining())
    assert (
        options.steps == 7
        and options.loss.perceptual == 0.0
        and options.loss.pixel == 1.0
        and options.references.lip_count == 3
    )
    recipe.write_text('{"stepz": 7}')
    with pytest.raises(OptionsError, match="the options are steps"):
        read_recipe(recipe, RendererTraining())
    with pytest.raises(OptionsError, match="the speakers are ann, bob"):
        train_renderer(
            folder,
            tmp_path / "out",
            TrainOptions(steps=1, hold_out=("ann", "bob")),
            face_model=face_model,
        )


def test_two_processes_learn_what_one_learns_from_twice_the_examples(folder, face_model, tmp_path):
    """The line of ``training.distributed`` for CPUs, as a person types it."""
    pytest.importorskip("accelerate")
    # without the discriminator, whose norms follow how often each process asked it
    short = {"loss": {"adversarial": 0.0}, "accumulate": 1, "targets": 1}
    short["references"] = {"lip_count": 2, "face_count": 2, "exclude_window": 4}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(short))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = [
        "-m",
        "personatalk_core",
        "train",
        "renderer",
        "--data",
        folder,
        "--out",
        tmp_path / "two",
        "--steps",
        "1",
    ]
    command = [*torchrun, *train, "--recipe", recipe, "--accelerate"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    recipe.write_text(json.dumps(short | {"accumulate": 2}))
    train_renderer(folder, tmp_path / "one", TrainOptions(steps=1, recipe=recipe), face_model=face_model)
    one, two = (load_state(tmp_path / name / STATE_FILE)["model"] for name in ("one", "two"))
    start = build_renderer(RendererConfig()).state_dict()
    moved = max(float((one[name] - start[name]).abs().max()) for name in start)
    assert moved > 0 and max(float((one[name] - two[name]).abs().max()) for name in start) < 0.01 * moved


def test_losses_are_compared_on_speakers_that_never_train(folder, face_model, tmp_path):
    losses = {"L1": LOSSES["L1"], "adversarial": LOSSES["L1, perceptual, adversarial"]}
    options = TrainOptions(steps=2, hold_out=("bob",))
    more = {"losses": losses, "config": SMALL, "recipe": SHORT}
    rows = renderer_ablations(folder, tmp_path, options, **more)
    assert list(rows) == [UNTRAINED, "L1", "adversarial"]
    assert all(
        row["lips"] > 20 and row["distance"] < 0.2 and 0.5 < row["detail"] < 1.5 for row in rows.values()
    )
    assert rows["L1"]["lips"] != rows[UNTRAINED]["lips"] != rows["adversarial"]["lips"]
    again = renderer_ablations(folder, tmp_path, options, lambda *_: pytest.fail("trained again"), **more)
    assert again == rows and load_renderer(tmp_path / "L1" / "renderer.safetensors").config == SMALL
    assert "| adversarial |" in table(rows)
