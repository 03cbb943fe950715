"""The page's part against the real frontend package without ComfyUI: a stub serves the golden schemas and
recorded outputs."""

import base64
import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from frontend_stub import FrontendStub

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
FRAMES = [4, 0, 9]
SHARES = "[data-view=styles] input[aria-label*=share]"


@pytest.fixture(scope="module")
def stub(tmp_path_factory, driver):
    if find_spec("comfyui_frontend_package") is None:
        pytest.skip(
            "comfyui-frontend-package is not installed; run: pip install comfyui-frontend-package==1.49.6"
        )
    folder = tmp_path_factory.mktemp("view")
    stub = FrontendStub(folder, recorded_outputs(folder), driver.SETTINGS)
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def page(stub, driver):
    with driver.open_page(stub.port) as page:
        yield page


def recorded_outputs(folder: Path) -> dict[str, dict]:
    """What the nodes send after a run, with small files behind it."""
    from personatalk_core.geometry.face_model import load_face_model
    from personatalk_core.media.video_writer import VideoWriter
    from personatalk_core.previews.geometry_viewer import write_viewer_file
    from personatalk_core.types import FaceGeometry, Timeline

    times = np.arange(10) / 10
    for name, level in (("before", 60), ("after", 180)):
        with VideoWriter(
            folder / f"{name}.mp4", 64, 64, Timeline(np.arange(10), times, np.full(10, 0.1))
        ) as writer:
            for _ in times:
                writer.write(np.full((64, 64, 3), level, np.uint8))
    jpeg = cv2.imencode(".jpg", np.full((32, 32, 3), 120, np.uint8))[1].tobytes()
    for frame in FRAMES:
        (folder / f"{frame}.jpg").write_bytes(jpeg)
    face_model = load_face_model()
    geometry = FaceGeometry(
        torch.zeros(face_model.identity_count),
        torch.randn(10, face_model.expression_count, generator=torch.Generator().manual_seed(0)) * 0.3,
        torch.zeros(10, 3),
        torch.zeros(10, 2),
        torch.ones(10),
        torch.zeros(10, dtype=torch.uint8),
        torch.zeros(10, dtype=torch.int64),
        torch.arange(10),
        torch.from_numpy(times),
        torch.full((10,), 0.1, dtype=torch.float64),
        (64, 64),
        face_model.sha256,
    )
    write_viewer_file(folder / "face.ptmesh", geometry, face_model)
    file = {"subfolder": "", "type": "temp"}
    picture = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    cards = [{"name": name, "picture": p, "network": "0" * 12} for name, p in (("Anna", picture), ("Bo", ""))]
    dub = {
        "before": file | {"filename": "before.mp4"},
        "after": file | {"filename": "after.mp4"},
        "length": "bounce",
    }
    strip = [
        {"frame": frame, "pinned": False, "picture": file | {"filename": f"{frame}.jpg"}} for frame in FRAMES
    ]
    viewer = {"video": file | {"filename": "after.mp4"}, "mesh": file | {"filename": "face.ptmesh"}}
    return {
        "PersonaTalkDubVideo": {"personatalk_dub": [dub]},
        "PersonaTalkSelectReferences": {"personatalk_references": strip, "personatalk_excluded": []},
        "PersonaTalkPreviewGeometry": {"personatalk_geometry": [viewer]},
        "PersonaTalkMixStyles": {"personatalk_styles": cards},
        "PersonaTalkGenerateGeometry": {"personatalk_styles": cards[:1]},
    }


def node_of(prompt: dict, node_type: str) -> dict:
    return next(node for node in prompt.values() if node["class_type"] == node_type)["inputs"]


@pytest.mark.parametrize("name", sorted(path.stem for path in WORKFLOWS.glob("*.json")))
def test_every_workflow_loads_and_queues(page, driver, prompt_of, name):
    driver.open_workflow(page, name)
    missing = page.evaluate(
        "() => window.app.graph.nodes.filter((n) => n.has_errors || !n.constructor?.nodeData).map((n) "
        "=> n.type)"
    )
    assert missing == []
    prompt, expected = driver.queued(page), prompt_of(name)
    queued = {
        key: {k: v for k, v in node["inputs"].items() if k in expected[key]["inputs"]}
        for key, node in prompt.items()
    }
    assert queued == {key: node["inputs"] for key, node in expected.items()}


def test_only_widgets_of_the_workflow_are_drawn(page, driver):
    """A socket type that the page knows as a widget must not turn into one: it would always send a value."""
    driver.open_workflow(page, "step_by_step")
    assert "face_box" not in node_of(driver.queued(page), "PersonaTalkTrackFace")
    widgets = page.evaluate(
        "() => window.app.graph.nodes.find((n) => n.type === 'PersonaTalkTrackFace').widgets.map((w) "
        "=> w.name)"
    )
    assert widgets == ["face"]


def test_words_are_chinese_where_the_page_is(stub, page):
    words = page.evaluate("async () => (await fetch('/api/i18n')).json()")
    assert "加载模型" in json.dumps(words["zh"]["nodeDefs"]["PersonaTalkLoadModels"], ensure_ascii=False)


def test_dub_player_wipes_and_keeps_its_keys(page, driver):
    driver.open_workflow(page, "dub_video")
    driver.run(page)
    page.wait_for_selector("[data-view=dub] video", timeout=90_000, state="attached")
    driver.look_at(page, "PersonaTalkDubVideo")
    wipe = page.locator("[data-view=dub] input[type=range]").last
    wipe.wait_for(state="visible")
    nodes = page.evaluate("() => window.app.graph.nodes.length")
    wipe.focus()
    for key in ("ArrowRight", "ArrowRight", "Delete"):
        page.keyboard.press(key)
    assert wipe.input_value() == "52" and "48%" in page.locator("[data-view=dub] video").last.get_attribute(
        "style"
    )
    assert page.evaluate("() => window.app.graph.nodes.length") == nodes
    driver.screenshot(page, "alone_dub_player")


def test_the_strip_writes_the_lists_that_are_queued(stub, page, driver):
    driver.open_workflow(page, "step_by_step")
    driver.run(page)
    page.wait_for_selector("[data-view=references] img", timeout=90_000, state="attached")
    driver.look_at(page, "PersonaTalkSelectReferences")
    buttons = page.locator("[data-view=references] .strip button")
    buttons.first.wait_for(state="visible")
    buttons.nth(0).click()
    buttons.nth(2).click()
    buttons.nth(1).click(modifiers=["Shift"])
    chosen = node_of(driver.queued(page), "PersonaTalkSelectReferences")
    assert (chosen["exclude"], chosen["pin"]) == ("4, 9", "0")
    buttons.nth(0).click()
    driver.run(page)
    page.wait_for_timeout(500)
    assert node_of(stub.prompts[-1], "PersonaTalkSelectReferences")["exclude"] == "9"


def test_the_viewer_draws_and_steps(page, driver):
    page.wait_for_selector("[data-view=geometry][data-frame]", timeout=60_000, state="attached")
    driver.look_at(page, "PersonaTalkPreviewGeometry")
    viewer = page.locator("[data-view=geometry]")
    viewer.locator("canvas").wait_for(state="visible")
    viewer.locator("canvas").focus()
    for key in ("End", "ArrowLeft"):
        page.keyboard.press(key)
    assert viewer.get_attribute("data-frame") == "8"
    driver.screenshot(page, "alone_viewer")


def test_mix_sliders_set_the_weights(page, driver):
    driver.open_workflow(page, "mix_styles")
    driver.run(page)
    page.wait_for_function(f"() => document.querySelectorAll({SHARES!r}).length === 2", timeout=90_000)
    sliders = page.locator(SHARES)
    sliders.last.evaluate("(slider) => { slider.value = 0.25; slider.dispatchEvent(new Event('input')); }")
    assert node_of(driver.queued(page), "PersonaTalkMixStyles")["weight_b"] == pytest.approx(0.25)
    assert "67 %" in sliders.first.locator("xpath=ancestor::*[@data-view='styles']").text_content()


def test_a_style_is_spoken_as_strongly_as_its_card_says(page, driver):
    """Slider and widget are two views of one number."""
    driver.open_workflow(page, "swap_style")
    driver.run(page)
    page.wait_for_function(
        "() => document.querySelectorAll('[data-view=styles] input[type=range]').length === 1", timeout=90_000
    )
    slider = page.locator("[data-view=styles] input[type=range]")
    slider.evaluate("(slider) => { slider.value = 1.4; slider.dispatchEvent(new Event('input')); }")
    assert node_of(driver.queued(page), "PersonaTalkGenerateGeometry")["style_strength"] == pytest.approx(1.4)
    page.evaluate("""() => {
        const node = window.app.graph.nodes.find((node) => node.type === 'PersonaTalkGenerateGeometry');
        const widget = node.widgets.find((widget) => widget.name === 'style_strength');
        widget.value = 0.5;
        widget.callback(0.5);
    }""")
    assert slider.input_value() == "0.5"
    driver.look_at(page, "PersonaTalkGenerateGeometry")
    assert page.locator("[data-view=styles] img.face").get_attribute("src").startswith("data:image/jpeg")
    driver.screenshot(page, "alone_style_card")


THEMES = {
    "dark": {"Comfy.Locale": "en", "Comfy.ColorPalette": "dark"},
    "light": {"Comfy.Locale": "zh", "Comfy.ColorPalette": "light"},
}


@pytest.mark.parametrize("theme", THEMES)
def test_views_follow_the_theme_and_the_language(stub, page, driver, theme):
    """Words on the views are readable in both themes; the light page is in Chinese."""
    stub.settings |= THEMES[theme]
    # nothing of the earlier tests is restored
    page = page.context.browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(f"http://127.0.0.1:{stub.port}/")
    page.wait_for_function(f"() => window.app?.graph && {driver.LOADED}", timeout=90_000)
    driver.open_workflow(page, "dub_video")
    titles = page.evaluate("() => window.app.graph.nodes.map((node) => node.title)")
    assert ("视频配音 (PersonaTalk)" in titles) == ("加载模型 (PersonaTalk)" in titles) == (theme == "light")
    driver.run(page)
    page.wait_for_selector("[data-view=dub] video", timeout=90_000, state="attached")
    driver.look_at(page, "PersonaTalkDubVideo")
    tag = page.locator("[data-view=dub] .tag").first
    tag.wait_for(state="visible")
    assert tag.text_content() == {"dark": "before", "light": "之前"}[theme]
    ink, paper = page.evaluate("""() => {
        const button = document.querySelector("[data-view=dub] button");
        const style = getComputedStyle(button);
        const numbers = (name) => style[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
        return ["color", "backgroundColor"].map(numbers);
    }""")
    assert contrast(ink, paper) > 4.5, "WCAG AA for small text"
    driver.screenshot(page, f"alone_{theme}")
    page.close()


def contrast(first: list[float], second: list[float]) -> float:
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2)."""
    levels = []
    for colour in (first, second):
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_no_script_failed(page):
    assert page.problems == []


def test_without_webgl_the_video_takes_the_viewers_place(stub, page, driver):
    stub.settings |= THEMES["dark"]
    with driver.open_page_without_webgl(page, stub.port) as page:
        assert page.evaluate("() => document.createElement('canvas').getContext('webgl2') === null")
        driver.open_workflow(page, "step_by_step")
        driver.run(page)
        page.wait_for_selector("[data-view=geometry] video[controls]", timeout=60_000, state="attached")
        assert page.locator("[data-view=geometry] canvas").count() == 0
        driver.look_at(page, "PersonaTalkPreviewGeometry")
        driver.screenshot(page, "alone_without_webgl")
        assert page.problems == []
