import json

import pytest

from personatalk_core.errors import OptionsError
from personatalk_core.training.recipe import read_recipe
from personatalk_core.training.speech.task import BUNDLED_RECIPE, SpeechTraining


def test_the_bundled_recipe_states_every_number():
    stated = json.loads(BUNDLED_RECIPE.read_text())
    assert set(vars(SpeechTraining())) - set(stated) <= {"seed", "hold_out"}
    assert set(vars(SpeechTraining().loss)) == set(stated["loss"])
    assert set(vars(SpeechTraining().noise_distillation)) == set(stated["noise_distillation"])
    assert stated["noise_distillation"]["steps"] > 0
    assert read_recipe(BUNDLED_RECIPE, SpeechTraining()).steps == stated["steps"]


def test_what_is_left_out_keeps_its_default(tmp_path):
    stated = {
        "steps": 7,
        "hold_out": ["anna"],
        "loss": {"closure": 0.0},
        "noise_distillation": {"decibels": [3, 9]},
    }
    (tmp_path / "r.json").write_text(json.dumps(stated))
    recipe = read_recipe(tmp_path / "r.json", SpeechTraining())
    assert (recipe.steps, recipe.hold_out, recipe.loss.closure) == (7, ("anna",), 0.0)
    assert recipe.noise_distillation.decibels == (3, 9) and recipe.noise_distillation.steps == 0
    assert (recipe.batch, recipe.loss.vertex) == (SpeechTraining().batch, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"stepps": 3}',
        '{"loss": {"closing": 1}}',
        '{"noise_distillation": {"db": 1}}',
        '{"hearing": {"db": 1}}',
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(OptionsError, match="recipe"):
        read_recipe(tmp_path / "r.json", SpeechTraining())


def test_names_of_earlier_recipes_are_understood(tmp_path):
    stated = {
        "rate": 0.5,
        "encoder_rate": 0.25,
        "average": 0.9,
        "decay": 0.1,
        "hearing": {"rate": 0.125, "average": 0.8},
    }
    (tmp_path / "r.json").write_text(json.dumps(stated))
    recipe = read_recipe(tmp_path / "r.json", SpeechTraining())
    assert (recipe.lr, recipe.encoder_lr, recipe.ema, recipe.weight_decay) == (0.5, 0.25, 0.9, 0.1)
    assert (recipe.noise_distillation.lr, recipe.noise_distillation.ema) == (0.125, 0.8)
