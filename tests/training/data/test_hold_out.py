"""Who is held out: who is named, else who was set aside, else who is drawn."""

import json
from dataclasses import dataclass

import pytest

from personatalk_core.errors import OptionsError
from personatalk_core.training.data.hold_out import draw_speakers, split_by_speaker
from personatalk_core.training.data.preparation import MANIFEST, set_aside


@dataclass(frozen=True)
class Clip:
    speaker: str
    frame_count: int = 100


CLIPS = [Clip(name) for name in "aabbccddee"]


def held(**choices) -> set[str]:
    training, validation = split_by_speaker(CLIPS, **choices)
    assert not {c.speaker for c in training} & {c.speaker for c in validation}
    assert len(training) + len(validation) == len(CLIPS)
    return {c.speaker for c in validation}


def test_names_come_before_the_prepared_split_and_that_before_the_draw():
    assert held(names=["b", "e"], set_aside={"a"}) == {"b", "e"}
    assert held(set_aside={"a", "z"}) == {"a"}
    drawn = draw_speakers(dict.fromkeys("abcde", 200))
    assert drawn and held() == drawn == held(set_aside={"z"}) == held(set_aside=set("abcde"))


def test_everybody_or_nobody_known_is_refused():
    for names in (list("abcde"), ["x"]):
        with pytest.raises(OptionsError, match="the speakers are a, b, c, d, e"):
            split_by_speaker(CLIPS, names)


def test_a_prepared_folder_says_whom_it_set_aside(tmp_path):
    assert set_aside(tmp_path) == set()
    clips = {"x": {"speaker": "a", "split": "validation"}, "y": {"speaker": "b", "split": "train"}}
    (tmp_path / MANIFEST).write_text(json.dumps({"clips": clips}))
    assert set_aside(tmp_path) == {"a"}
