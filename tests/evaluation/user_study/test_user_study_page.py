"""The viewing test as a rater meets it: in a browser, from one file, without a network."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from personatalk_core.cli.parser import main
from personatalk_core.evaluation.user_study.analysis import analyse_user_study
from personatalk_core.evaluation.user_study.make import make_user_study
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import AudioClip, Timeline

START = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; run: pip install playwright"
    )
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium was found; install one or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=START)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Two systems with two clips each, of a fifth of a second; ours are bright."""
    folder = tmp_path_factory.mktemp("systems")
    order = np.arange(5)
    for name, level in (("ours", 200), ("theirs", 40)):
        for clip in ("anna", "bert"):
            timeline = Timeline(order, order / 25, np.full(5, 1 / 25))
            (folder / name).mkdir(exist_ok=True)
            sound = AudioClip(np.zeros((1, 3200), np.float32), 16000)
            with VideoWriter(folder / name / f"{clip}.mp4", 64, 64, timeline, audio=sound) as video:
                for _ in order:
                    video.write(np.full((64, 64, 3), level, np.uint8))
    return {name: folder / name for name in ("ours", "theirs")}


def open_study(browser, study):
    """A page without a network; what it asks for is kept in ``page.asked``."""
    page = browser.new_context(offline=True, accept_downloads=True).new_page()
    page.asked, page.problems = [], []
    page.on("request", lambda request: page.asked.append(request.url.split(",")[0]))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(study.page.as_uri())
    return page


def watch(page):
    """Play every video of the trial to its end."""
    page.evaluate(
        """async () => {
            const players = [...document.querySelectorAll("#videos video")];
            await Promise.all(players.map((player) => new Promise((done) => {
                player.addEventListener("ended", done);
                player.play();
            })));
        }"""
    )


def finish(page, study, trials, answer, folder, rater):
    page.fill("#rater", rater)
    page.click("#begin")
    for _ in range(trials):
        watch(page)
        chosen = answer(page)
        for question in ("visual", "lip_sync", "persona"):
            page.check(f"input[name={question}][value='{chosen}']")
        page.click("#next")
    page.wait_for_selector("#save", state="visible")
    with page.expect_download() as download:
        page.click("#save")
    target = folder / download.value.suggested_filename
    download.value.save_as(target)
    return target


def brightest(page):
    """The side whose picture is bright: what a rater who prefers ours would choose."""
    return page.evaluate(
        """() => {
            const players = [...document.querySelectorAll("#videos video")].slice(0, sides.length);
            const level = players.map((player) => {
                const canvas = document.createElement("canvas");
                canvas.width = canvas.height = 4;
                const pen = canvas.getContext("2d");
                pen.drawImage(player, 0, 0, 4, 4);
                return pen.getImageData(0, 0, 1, 1).data[0];
            });
            if (study.kind === "ab") return "AB"[level[0] > level[1] ? 0 : 1];
            return level[0] > 120 ? "5" : "2";
        }"""
    )


@pytest.mark.parametrize(("kind", "trials"), [("ab", 2), ("mos", 4)])
def test_raters_finish_without_a_network_and_the_analysis_reads_their_files(
    browser, systems, tmp_path, kind, trials, capsys
):
    study = make_user_study(systems, tmp_path, kind=kind, reference=systems["theirs"])
    files = []
    for rater in ("r 1", "r2"):
        page = open_study(browser, study)
        files.append(finish(page, study, trials, brightest, tmp_path, rater))
        assert page.problems == [] and {url.split(":")[0] for url in page.asked} <= {"file", "data", "blob"}
        page.context.close()
    assert [f.name for f in files] == ["answers_r_1.csv", "answers_r2.csv"]
    assert len(list(csv.DictReader(files[0].open()))) == 3 * trials
    result = analyse_user_study(study.key, files)
    assert result["raters"] == 2 and result["answers"] == 6 * trials
    for table in result["questions"].values():
        if kind == "ab":
            assert (table["ours vs theirs"]["wins"], table["ours vs theirs"]["losses"]) == (4, 0)
        else:
            assert table["ours"]["mean"] == 5.0 and table["theirs"]["mean"] == 2.0
    assert main(["user-study", "--key", str(study.key), "--answers", *map(str, files)]) == 0
    assert "2 raters" in capsys.readouterr().out


def test_nobody_goes_on_before_watching_and_answering(browser, systems, tmp_path):
    study = make_user_study(systems, tmp_path, kind="mos")
    page = open_study(browser, study)
    page.click("#begin")
    assert page.is_visible("#start")  # without a name
    page.fill("#rater", "r")
    page.click("#begin")
    for question in ("visual", "lip_sync", "persona"):
        page.check(f"input[name={question}][value='3']")
    page.click("#next")
    assert page.is_visible("#hint") and page.evaluate("at") == 0
    watch(page)
    page.click("#next")
    assert page.evaluate("at") == 1 and not page.is_visible("#hint")
    page.click("#next")
    assert page.evaluate("at") == 1
    page.context.close()


def test_order_and_sides_are_drawn_evenly(browser, systems, tmp_path):
    page = open_study(browser, make_user_study(systems, tmp_path, kind="ab"))
    drawn = page.evaluate("Array.from({length: 1200}, () => shuffle([0, 1, 2]).join(''))")
    counts = Counter(drawn)
    assert len(counts) == 6 and chisquare(list(counts.values())).pvalue > 1e-4
    page.fill("#rater", "r")
    page.click("#begin")
    firsts = page.evaluate("Array.from({length: 200}, () => { show(); return sides[0]; })")
    assert 50 < Counter(firsts).most_common()[0][1] < 150
    page.context.close()
