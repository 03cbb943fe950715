"""The page's part in headless Chromium against the real server: views draw, their controls change what is
queued next."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRAW_SECONDS = 240
SLIDERS = "[data-view=styles] input[aria-label*=share]"


@pytest.fixture(scope="module")
def page(comfy, driver):
    """A page of the running server."""
    comfy.post("/settings", driver.SETTINGS)
    with driver.open_page(comfy.port) as page:
        yield page


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_the_page_queues_what_the_workflow_says(page, driver, prompt_of, path):
    driver.open_workflow(page, path.stem)
    prompt, expected = driver.queued(page), prompt_of(path.stem)
    assert set(prompt) == set(expected)
    for key, node in expected.items():
        assert prompt[key]["class_type"] == node["class_type"]
        assert {name: prompt[key]["inputs"].get(name) for name in node["inputs"]} == node["inputs"], node[
            "class_type"
        ]


def test_the_player_shows_before_and_after(page, driver):
    driver.open_workflow(page, "dub_video")
    driver.run(page)
    page.wait_for_selector("[data-view=dub] video", timeout=DRAW_SECONDS * 1000, state="attached")
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-view=dub] video')].every((v) => v.readyState >= 2)",
        timeout=30_000,
    )
    assert page.locator("[data-view=dub] video").count() == 2
    wipe = page.locator("[data-view=dub] input[type=range]").last
    wipe.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert wipe.input_value() == "40"
    assert "60%" in page.locator("[data-view=dub] video").last.get_attribute("style")
    assert page.evaluate("() => window.app.graph.nodes.length") == 6, "keys must not reach the graph"
    driver.screenshot(page, "dub_player")


def test_the_reference_strip_and_the_geometry_viewer_draw(page, driver):
    driver.open_workflow(page, "step_by_step")
    driver.run(page)
    page.wait_for_selector("[data-view=references] img", timeout=DRAW_SECONDS * 1000, state="attached")
    first, second = (
        page.locator("[data-view=references] .strip button").nth(0),
        page.locator("[data-view=references] .strip button").nth(1),
    )
    driver.look_at(page, "PersonaTalkSelectReferences")
    second.wait_for(state="visible")
    frames = [int(button.get_attribute("data-frame")) for button in (first, second)]
    before = driver.queued(page)
    first.click()
    second.focus()
    page.keyboard.press("p")
    key = next(key for key, node in before.items() if node["class_type"] == "PersonaTalkSelectReferences")
    after = driver.queued(page)[key]["inputs"]
    assert (before[key]["inputs"]["exclude"], before[key]["inputs"]["pin"]) == ("", "")
    assert (after["exclude"], after["pin"]) == (str(frames[0]), str(frames[1]))
    assert first.get_attribute("aria-pressed") == "true" and "excluded" in first.get_attribute("class")

    page.wait_for_selector("[data-view=geometry][data-frame]", timeout=DRAW_SECONDS * 1000, state="attached")
    driver.screenshot(page, "references")
    driver.look_at(page, "PersonaTalkPreviewGeometry")
    viewer = page.locator("[data-view=geometry]")
    viewer.locator("canvas").wait_for(state="visible")
    viewer.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert viewer.get_attribute("data-frame") == "2"
    drawn = page.evaluate("""() => new Promise((resolve) => requestAnimationFrame(() => {
        const canvas = document.querySelector("[data-view=geometry] canvas");
        const copy = Object.assign(document.createElement("canvas"), { width: 80, height: 80 });
        canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
        copy.getContext("2d").drawImage(canvas, 0, 0, 80, 80);
        const pixels = copy.getContext("2d").getImageData(0, 0, 80, 80).data;
        resolve(pixels.filter((_, i) => i % 4 === 3).filter((alpha) => alpha > 0).length);
    }))""")
    assert drawn > 400, "the face must cover part of the canvas"
    driver.screenshot(page, "geometry")


def test_mix_sliders_change_what_is_queued(page, driver):
    driver.open_workflow(page, "mix_styles")
    driver.run(page)
    sliders = page.locator(SLIDERS)
    page.wait_for_function(
        f"() => document.querySelectorAll('{SLIDERS}').length === 2", timeout=DRAW_SECONDS * 1000
    )
    sliders.first.evaluate("(slider) => { slider.value = 0.9; slider.dispatchEvent(new Event('input')); }")
    prompt = driver.queued(page)
    mixed = next(node for node in prompt.values() if node["class_type"] == "PersonaTalkMixStyles")
    assert mixed["inputs"]["weight_a"] == pytest.approx(0.9) and mixed["inputs"]["weight_b"] == pytest.approx(
        0.5
    )
    driver.look_at(page, "PersonaTalkMixStyles")
    sliders.first.wait_for(state="visible")
    assert "64 %" in sliders.first.locator("xpath=ancestor::*[@data-view='styles']").inner_text()
    assert page.locator("[data-view=styles] img").count() >= 2
    driver.screenshot(page, "mix_styles")


def test_no_script_failed(page):
    assert page.problems == []
