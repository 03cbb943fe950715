"""The page's part in headless Chromium against the real server: views draw, their controls change what is queued next."""

import json
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRAW_SECONDS = 120
LOADED = "window.app.extensions?.some((extension) => extension.name === 'PersonaTalk.Views')"
SLIDERS = "[data-view=styles] input[type=range]"
START = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox", "--autoplay-policy=no-user-gesture-required"]


@pytest.fixture(scope="module")
def page(comfy):
    """A page of the running server. Needs playwright (pip install playwright) and a Chromium (CHROMIUM or on the path)."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; run: pip install playwright")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium was found; install one or name it in CHROMIUM")
    comfy.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en", "Comfy.Workflow.ShowMissingModelsWarning": False})
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=START)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if "PersonaTalk" in message.text else None)
        page.goto(f"http://127.0.0.1:{comfy.port}/")
        page.wait_for_function(f"() => window.app?.graph && {LOADED}", timeout=60_000)
        yield page
        browser.close()


def open_workflow(page, name: str) -> None:
    workflow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("(workflow) => window.app.loadGraphData(workflow)", workflow)
    page.wait_for_function("(count) => window.app.graph.nodes.length === count", arg=len(workflow["nodes"]))


def queued(page) -> dict:
    """The prompt that the page would queue now."""
    return page.evaluate("async () => (await window.app.graphToPrompt()).output")


def run(page) -> None:
    page.evaluate("() => window.app.queuePrompt(0)")


def look_at(page, node_type: str) -> None:
    """Bring a node into view: what lies outside is not shown and cannot have the focus."""
    page.evaluate(
        """(type) => {
            const { canvas, graph } = window.app;
            canvas.ds.scale = 1;
            canvas.centerOnNode(graph.nodes.find((node) => node.type === type));
            canvas.draw(true, true);
        }""",
        node_type,
    )


def screenshot(page, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.evaluate("() => window.app.canvas.ds && window.app.canvas.draw(true, true)")
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_the_page_queues_what_the_workflow_says(page, prompt_of, path):
    open_workflow(page, path.stem)
    prompt, expected = queued(page), prompt_of(path.stem)
    assert set(prompt) == set(expected)
    for key, node in expected.items():
        assert prompt[key]["class_type"] == node["class_type"]
        assert {name: prompt[key]["inputs"].get(name) for name in node["inputs"]} == node["inputs"], node["class_type"]


def test_dub_player(page):
    open_workflow(page, "dub_video")
    run(page)
    page.wait_for_selector("[data-view=dub] video", timeout=DRAW_SECONDS * 1000, state="attached")
    page.wait_for_function("() => [...document.querySelectorAll('[data-view=dub] video')].every((v) => v.readyState >= 2)", timeout=30_000)
    assert page.locator("[data-view=dub] video").count() == 2
    wipe = page.locator("[data-view=dub] input[type=range]").last
    wipe.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert wipe.input_value() == "40"
    assert "60%" in page.locator("[data-view=dub] video").last.get_attribute("style")
    assert page.evaluate("() => window.app.graph.nodes.length") == 6, "keys must not reach the graph"
    screenshot(page, "dub_player")


def test_reference_strip_and_geometry_viewer(page):
    open_workflow(page, "step_by_step")
    run(page)
    page.wait_for_selector("[data-view=references] img", timeout=DRAW_SECONDS * 1000, state="attached")
    first, second = page.locator("[data-view=references] .strip button").nth(0), page.locator("[data-view=references] .strip button").nth(1)
    look_at(page, "PersonaTalkSelectReferences")
    second.wait_for(state="visible")
    frames = [int(button.get_attribute("data-frame")) for button in (first, second)]
    before = queued(page)
    first.click()
    second.focus()
    page.keyboard.press("p")
    key = next(key for key, node in before.items() if node["class_type"] == "PersonaTalkSelectReferences")
    after = queued(page)[key]["inputs"]
    assert (before[key]["inputs"]["exclude"], before[key]["inputs"]["pin"]) == ("", "")
    assert (after["exclude"], after["pin"]) == (str(frames[0]), str(frames[1]))
    assert first.get_attribute("aria-pressed") == "true" and "excluded" in first.get_attribute("class")

    page.wait_for_selector("[data-view=geometry][data-frame]", timeout=DRAW_SECONDS * 1000, state="attached")
    screenshot(page, "references")
    look_at(page, "PersonaTalkPreviewGeometry")
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
    screenshot(page, "geometry")


def test_mix_sliders_change_what_is_queued(page):
    open_workflow(page, "mix_styles")
    run(page)
    sliders = page.locator(SLIDERS)
    page.wait_for_function(f"() => document.querySelectorAll('{SLIDERS}').length === 2", timeout=DRAW_SECONDS * 1000)
    sliders.first.evaluate("(slider) => { slider.value = 0.9; slider.dispatchEvent(new Event('input')); }")
    prompt = queued(page)
    mixed = next(node for node in prompt.values() if node["class_type"] == "PersonaTalkMixStyles")
    assert mixed["inputs"]["weight_a"] == pytest.approx(0.9) and mixed["inputs"]["weight_b"] == pytest.approx(0.5)
    look_at(page, "PersonaTalkMixStyles")
    sliders.first.wait_for(state="visible")
    assert "64 %" in sliders.first.locator("xpath=ancestor::*[@data-view='styles']").inner_text()
    assert page.locator("[data-view=styles] img").count() >= 2
    screenshot(page, "mix_styles")


def test_no_script_failed(page):
    assert page.problems == []
