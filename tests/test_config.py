"""Options refuse contradictions with one sentence each, and the paper's constants follow from one another."""

from __future__ import annotations

import dataclasses

import pytest

from personatalk_core import config
from personatalk_core.config import DEVICES, DTYPES, LENGTH_MODES, DubOptions, FaceChoice, option_fields
from personatalk_core.errors import OptionsError


def test_constants_of_the_paper():
    assert (config.MODEL_FPS, config.SAMPLE_RATE, config.CROP_SIZE) == (25, 16_000, 256)
    assert config.SAMPLES_PER_FRAME * config.MODEL_FPS == config.SAMPLE_RATE
    assert config.LATENT_SIZE * config.LATENT_STRIDE == config.CROP_SIZE


def test_defaults_are_valid_and_verify_returns_the_options():
    options = DubOptions()
    assert options.verify() is options
    assert (options.length, options.face, options.lip_references, options.face_references) == (
        "cut_off",
        "auto",
        50,
        5,
    )


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DubOptions().seed = 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("length", LENGTH_MODES),
        ("device", DEVICES),
        ("dtype", DTYPES),
        ("style_strength", (0.0, 1, 2.0)),
        ("exclude_window", (0, 12)),
        ("lip_references", (1,)),
    ],
)
def test_every_stated_value_is_accepted(field, values):
    for value in values:
        DubOptions(**{field: value}).verify()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "length",
            "longest",
            "length is 'longest' but expected one of cut_off, bounce, loop, remap, silence",
        ),
        ("device", "tpu", "device is 'tpu' but expected one of auto, cpu"),
        ("dtype", "int8", "dtype is 'int8' but expected one of auto, fp32"),
        ("style_strength", -0.1, "style strength is -0.1 but expected"),
        ("style_strength", 2.1, "style strength is 2.1 but expected"),
        ("style_strength", float("nan"), "style strength is nan but expected"),
        ("lip_references", 0, "reference counts are 0 lip and 5 face"),
        ("face_references", 0, "reference counts are 50 lip and 0 face"),
        ("exclude_window", -1, "exclude window is -1 frames"),
        ("face", "prettiest", "face is 'prettiest' but expected auto, largest"),
    ],
)
def test_contradictions_are_refused(field, value, message):
    with pytest.raises(OptionsError, match=message):
        DubOptions(**{field: value}).verify()


def test_the_option_table_has_a_row_a_field():
    options = option_fields()
    assert [*options] == [field.name for field in dataclasses.fields(DubOptions)]
    defaults = vars(DubOptions())
    assert {name: option.default for name, option in options.items()} == defaults
    assert {name: option.kind for name, option in options.items()} == {
        name: type(value) for name, value in defaults.items()
    }


@pytest.mark.parametrize("option", option_fields().values(), ids=lambda option: option.name)
def test_every_row_is_explained_and_its_default_accepted(option):
    assert option.help or option.tooltip
    assert option.accepts(option.default)
    ranged = option.min is not None or option.max is not None
    assert bool(option.refusal) == ranged, "a range needs the sentence that refuses what lies outside"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", FaceChoice("auto")),
        ("largest", FaceChoice("largest")),
        ("index:0", FaceChoice("index", index=0)),
        ("index:12", FaceChoice("index", index=12)),
        ("point:320,180@0", FaceChoice("point", point=(320.0, 180.0))),
        ("point:320.5,180@40", FaceChoice("point", point=(320.5, 180.0), frame=40)),
        ("point:1,2", FaceChoice("point", point=(1.0, 2.0), frame=0)),
    ],
)
def test_face_choice(text, choice):
    assert FaceChoice.parse(text) == choice


UNREADABLE = [
    "",
    "Auto",
    "auto:1",
    "index",
    "index:",
    "index:-1",
    "index:1.5",
    "point:1",
    "point:1,2,3",
    "point:1,2@-1",
    "point:1,2@x",
    "point:nan,2@0",
    "point:1,inf@0",
    "largest:2",
    "face:1",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_face_choice_refuses(text):
    with pytest.raises(OptionsError, match="but expected auto, largest, index:N"):
        FaceChoice.parse(text)
