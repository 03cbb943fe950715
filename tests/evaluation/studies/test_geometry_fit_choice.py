"""Choosing weights: what is allowed, what wins, and the command."""

from dataclasses import replace
from pathlib import Path

import pytest

from personatalk_core.cli import main
from personatalk_core.evaluation.studies import geometry_fit_choice as choice
from personatalk_core.geometry.fitting import DEFAULT_WEIGHTS


def landscape(monkeypatch, best: dict[str, float], forbidden: str = ""):
    """Trials without fitting: jitter grows with the distance from ``best``; doubling ``forbidden`` opens
    mouths."""

    def try_weights(tracks, face_model, weights):
        away = sum(abs(getattr(weights, name) / value - 1) for name, value in best.items())
        closed = (
            0.9 if forbidden and getattr(weights, forbidden) > getattr(DEFAULT_WEIGHTS, forbidden) else 0.1
        )
        return choice.Trial(weights, 0.3 + away, 0.8, -5.0, closed)

    monkeypatch.setattr(choice, "try_weights", try_weights)


def test_descent_finds_a_better_neighbour_and_stays_at_the_best(monkeypatch):
    twice = DEFAULT_WEIGHTS.laplacian_upper * 2
    landscape(monkeypatch, {"laplacian_upper": twice})
    lines = []
    found = choice.choose_weights({}, None, rounds=3, report=lines.append)
    assert found == replace(DEFAULT_WEIGHTS, laplacian_upper=twice)
    assert len(lines) == 1 + 2 * 2 * len(choice.CHOSEN)  # the second round moves nothing and ends it
    assert choice.choose_weights({}, None, found) == found


def test_a_setting_that_opens_mouths_is_not_allowed_however_calm(monkeypatch):
    landscape(
        monkeypatch, {"laplacian_lower": DEFAULT_WEIGHTS.laplacian_lower * 2}, forbidden="laplacian_lower"
    )
    assert choice.choose_weights({}, None) == DEFAULT_WEIGHTS
    worse = choice.Trial(DEFAULT_WEIGHTS, 0.1, 0.5, 0.1, 0.0)
    assert not worse.allowed and worse.score == float("inf")


def test_one_clip_a_speaker(tmp_path):
    for name, size in (("ann__1.mp4", 5), ("ann__2.mp4", 9), ("bob__1.mp4", 1), ("cid__1.mp4", 2)):
        (tmp_path / name).write_bytes(b"x" * size)
    videos = sorted(tmp_path.iterdir())
    assert [path.name for path in choice.one_a_speaker(videos, 9)] == [
        "ann__2.mp4",
        "bob__1.mp4",
        "cid__1.mp4",
    ]
    assert [path.name for path in choice.one_a_speaker(videos, 2)] == ["ann__2.mp4", "cid__1.mp4"]


@pytest.mark.parametrize(("arguments", "match"), [([], "holds no video"), (["--clips", "0"], "below 1")])
def test_the_command_says_what_is_wrong(tmp_path: Path, capsys, arguments, match):
    assert main(["study", "geometry-fit-choice", str(tmp_path), *arguments]) == 2
    assert match in capsys.readouterr().err
