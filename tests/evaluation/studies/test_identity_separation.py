"""Same-person AUC against pairs counted by hand, and the command on geometry files."""

from dataclasses import replace

import pytest
import torch

from personatalk_core.cli import main
from personatalk_core.errors import OptionsError
from personatalk_core.evaluation.studies.identity_separation import (
    CLIPS_A_SPEAKER,
    identities_in,
    same_person_auc,
    speaker_in,
)
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.geometry_file import save_geometry
from personatalk_core.types import FaceGeometry


def at(*degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_auc_counts_pairs():
    assert same_person_auc(at(0, 10, 90), ["a", "a", "b"]) == 1
    assert same_person_auc(at(0, 90, 10), ["a", "a", "b"]) == 0
    # ann 0 and 40; bob 30 and 100: within 40 and 70 degrees, between 30, 10, 100, 60: 40 beats 100 and 60, 70
    # beats 100
    assert same_person_auc(at(0, 40, 30, 100), ["ann", "ann", "bob", "bob"]) == pytest.approx(3 / 8)
    assert same_person_auc(torch.ones(4, 2), ["a", "a", "b", "b"]) == 0.5  # ties count half


def test_auc_needs_both_kinds_of_pairs():
    for speakers in (["a", "a"], ["a", "b"]):
        with pytest.raises(OptionsError, match="two people or more"):
            same_person_auc(at(0, 1), speakers)


def test_names():
    assert (
        speaker_in("ann__x__1.mp4") == "ann"
        and speaker_in("train__ann__1.mp4") == "ann"
        and speaker_in("train__ann.mp4") == "train"
    )


def test_the_command_reads_geometry_files(tmp_path, capsys):
    model, zero = load_face_model(), torch.zeros(2, dtype=torch.int64)
    geometry = FaceGeometry(
        identity=torch.zeros(model.identity_count),
        expression=torch.zeros(2, model.expression_count),
        rotation=torch.zeros(2, 3),
        translation=torch.zeros(2, 2),
        scale=torch.ones(2),
        status=zero.to(torch.uint8),
        shot=zero,
        source_frame=zero,
        times=torch.tensor([0.0, 0.04]),
        durations=torch.full((2,), 0.04),
        frame_size=(9, 9),
        face_model=model.sha256,
    )
    generator = torch.Generator().manual_seed(0)
    for name in ("ann", "bob"):
        own = torch.randn(model.identity_count, generator=generator)
        for k in range(CLIPS_A_SPEAKER + 2):
            noise = 0.1 * torch.randn(model.identity_count, generator=generator)
            save_geometry(tmp_path / f"{name}__{k:02d}.safetensors", replace(geometry, identity=own + noise))
    assert len(identities_in(tmp_path, model)) == 2 * CLIPS_A_SPEAKER
    assert main(["study", "identity-separation", str(tmp_path)]) == 0
    assert "AUC 1.0000 over 20 clips of 2 people" in capsys.readouterr().out
    assert main(["study", "identity-separation", str(tmp_path / "none")]) == 2
    assert "neither geometry files nor videos" in capsys.readouterr().err
