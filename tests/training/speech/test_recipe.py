import json

import pytest

from personatalk_core.errors import OptionsError
from personatalk_core.training.speech.loop import SpeechTraining
from personatalk_core.training.speech.recipe import BUNDLED_RECIPE, read_recipe


def test_the_bundled_recipe_states_every_number():
    stated = json.loads(BUNDLED_RECIPE.read_text())
    assert set(vars(SpeechTraining())) - set(stated) <= {"seed", "hold_out"}
    assert set(vars(SpeechTraining().loss)) == set(stated["loss"])
    assert set(vars(SpeechTraining().hearing)) == set(stated["hearing"]) and stated["hearing"]["steps"] > 0
    assert read_recipe().steps == stated["steps"]


def test_what_is_left_out_keeps_its_default(tmp_path):
    stated = {"steps": 7, "hold_out": ["anna"], "loss": {"closure": 0.0}, "hearing": {"decibels": [3, 9]}}
    (tmp_path / "r.json").write_text(json.dumps(stated))
    recipe = read_recipe(tmp_path / "r.json")
    assert (recipe.steps, recipe.hold_out, recipe.loss.closure) == (7, ("anna",), 0.0)
    assert recipe.hearing.decibels == (3, 9) and recipe.hearing.steps == 0
    assert (recipe.batch, recipe.loss.vertex) == (SpeechTraining().batch, 1.0)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"stepps": 3}', '{"loss": {"closing": 1}}', '{"hearing": {"db": 1}}']
)
def test_a_wrong_recipe_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(OptionsError, match="recipe"):
        read_recipe(tmp_path / "r.json")
