from __future__ import annotations

import csv
import json
import re

import pytest

from personatalk_core.errors import MediaError, OptionsError
from personatalk_core.evaluation.user_study.analysis import analyse_user_study, format_user_study
from personatalk_core.evaluation.user_study.make import QUESTIONS, make_user_study


@pytest.fixture
def systems(tmp_path):
    folders = {}
    for name in ("ours", "theirs"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for clip in ("anna", "bert", "cleo"):
            (folders[name] / f"{clip}.mp4").write_bytes(f"{name} {clip}".encode())
    (folders["ours"] / "extra.mp4").write_bytes(b"only ours")
    return folders


def page_data(study):
    return json.loads(
        re.search(r'type="application/json">(.*?)</script>', study.page.read_text(), re.DOTALL).group(1)
    )


def write_answers(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rater", "trial", "question", "item_a", "item_b", "answer", "seconds"])
        writer.writerows(rows)
    return path


def items_of(study):
    return {
        (entry["system"], entry["clip"]): item
        for item, entry in json.loads(study.key.read_text())["items"].items()
    }


def test_the_page_is_blind_and_needs_nothing_from_outside(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out", kind="mos", reference=systems["theirs"])
    text = study.page.read_text()
    assert "ours" not in text and "theirs" not in text and "anna" not in text and "http" not in text
    data = page_data(study)
    assert study.trials == len(data["trials"]) == 6  # two systems, three common clips
    assert set(data["questions"]) == {"visual", "lip_sync", "persona"} == set(QUESTIONS)
    assert len(data["media"]) == 9 and all(
        value.startswith("data:video/mp4;base64,") for value in data["media"].values()
    )
    assert len(json.loads(study.key.read_text())["items"]) == 6


def test_pairs_are_of_one_clip_and_two_systems(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out", kind="ab")
    items = json.loads(study.key.read_text())["items"]
    pairs = [trial["items"] for trial in page_data(study)["trials"]]
    assert len(pairs) == 3
    for pair in pairs:
        assert len({items[i]["clip"] for i in pair}) == 1 and {items[i]["system"] for i in pair} == {
            "ours",
            "theirs",
        }


def test_what_cannot_be_studied_is_refused(systems, tmp_path):
    with pytest.raises(OptionsError, match="at least 2"):
        make_user_study({"ours": systems["ours"]}, tmp_path, kind="ab")
    with pytest.raises(OptionsError, match="kind"):
        make_user_study(systems, tmp_path, kind="guess")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no clip"):
        make_user_study({"ours": systems["ours"], "empty": tmp_path / "empty"}, tmp_path)


def test_mean_opinion_scores_with_intervals(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out", kind="mos")
    item = items_of(study)
    rows = []
    for rater, shift in (("r1", 0), ("r2", 1)):
        for number, ((system, clip), name) in enumerate(sorted(item.items())):
            score = (3 if system == "ours" else 1) + shift + (clip == "anna")
            rows.append([rater, number, "visual", name, "", score, 1.0])
    result = analyse_user_study(study.key, [write_answers(tmp_path / "a.csv", rows)])
    ours, theirs = result["questions"]["visual"]["ours"], result["questions"]["visual"]["theirs"]
    assert ours["mean"] == pytest.approx(3.5 + 1 / 3) and theirs["mean"] == pytest.approx(1.5 + 1 / 3)
    assert ours["low"] < ours["mean"] < ours["high"] and ours["low"] > theirs["high"]
    assert result["raters"] == 2 and "| ours | 3.83 [" in format_user_study(result)


def test_equal_answers_have_an_interval_of_no_width(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out")
    rows = [["r", n, "persona", name, "", 4, 1.0] for n, name in enumerate(items_of(study).values())]
    table = analyse_user_study(study.key, [write_answers(tmp_path / "a.csv", rows)])["questions"]["persona"]
    assert table["ours"] == {"mean": 4.0, "low": 4.0, "high": 4.0, "answers": 3}


def test_preferences_follow_the_winner_on_either_side(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out", kind="ab")
    item = items_of(study)
    rows = []
    for k in range(10):  # ours wins nine of ten, on whichever side it stands; one is undecided
        for trial, clip in enumerate(("anna", "bert")):
            sides = [item["ours", clip], item["theirs", clip]]
            answer = ("A" if k != 0 else "B") if trial == 0 else "same" if k == 0 else "A"
            if k % 2:
                sides.reverse()
                answer = {"A": "B", "B": "A"}.get(answer, answer)
            rows.append([f"r{k}", trial, "lip_sync", *sides, answer, 1.0])
    row = analyse_user_study(study.key, [write_answers(tmp_path / "a.csv", rows)])["questions"]["lip_sync"][
        "ours vs theirs"
    ]
    assert (row["wins"], row["losses"], row["same"]) == (18, 1, 1)
    assert row["share"] == pytest.approx(18 / 19)
    assert row["low"] == pytest.approx(0.754, abs=0.005)  # Wilson: 18 of 19
    assert row["p"] == pytest.approx(2 * 20 / 2**19, rel=1e-6)


def test_a_repeated_answer_replaces_the_first_and_foreign_files_are_refused(systems, tmp_path):
    study = make_user_study(systems, tmp_path / "out")
    name = items_of(study)["ours", "anna"]
    path = write_answers(
        tmp_path / "a.csv", [["r", 0, "visual", name, "", 1, 1.0], ["r", 0, "visual", name, "", 5, 1.0]]
    )
    assert analyse_user_study(study.key, [path])["questions"]["visual"]["ours"]["mean"] == 5.0
    with pytest.raises(MediaError, match="another study"):
        analyse_user_study(
            study.key, [write_answers(tmp_path / "b.csv", [["r", 0, "visual", "00", "", 1, 1.0]])]
        )
    with pytest.raises(MediaError, match="does not give"):
        analyse_user_study(
            study.key, [write_answers(tmp_path / "c.csv", [["r", 0, "visual", name, "", 7, 1.0]])]
        )
    with pytest.raises(OptionsError, match="no answers"):
        analyse_user_study(study.key, [write_answers(tmp_path / "d.csv", [])])
