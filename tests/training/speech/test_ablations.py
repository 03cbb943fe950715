import json
import math

import pytest

from personatalk_core.training.data.hold_out import split_by_speaker
from personatalk_core.training.recipe import TrainOptions
from personatalk_core.training.speech import ablations
from personatalk_core.training.speech.train import speech_recipe


def test_each_variant_lacks_one_part():
    base = speech_recipe(TrainOptions())
    assert ablations.variant(base, "all parts") == base
    without = {name: ablations.variant(base, name) for name in ablations.VARIANTS}
    assert not without["without style"].style and without["without style"].loss.style == 0
    assert without["without fine-tuning"].frozen_steps > base.steps
    assert (
        without["without closure term"].loss.closure
        == 0
        == without["without liveliness term"].loss.liveliness
    )
    assert all(v.steps == base.steps and v.batch == base.batch for v in without.values())


@pytest.mark.parametrize("name", ["all parts", "without style"])
def test_a_short_run_gives_a_row(name, talker, face_model, tmp_path, monkeypatch):
    clips = [talker(n, seconds=3.0, seed=i) for i, n in enumerate("abcc")]
    monkeypatch.setattr(ablations, "prepare_folder", lambda *_: ([], {}))
    monkeypatch.setattr(ablations, "speech_clips", lambda *_, **__: clips)
    rows = ablations.speech_ablations(
        tmp_path, tmp_path, TrainOptions(steps=1, hold_out=("c",)), names=[name], face_model=face_model
    )
    assert json.loads((tmp_path / "ablations.json").read_text())[0]["name"] == name
    assert rows[0].vertex_error > 0 and math.isnan(rows[0].style_1nn) == (name == "without style")
    assert {c.speaker for c in split_by_speaker(clips, ["c"])[1]} == {"c"}
    assert "| - |" in ablations.table(rows) or name == "all parts"
