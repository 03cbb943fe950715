"""The page of ComfyUI in headless Chromium: open a workflow, look at a node, see what would be queued."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = "window.app.extensions?.some((extension) => extension.name === 'PersonaTalk.Views')"
START = ["--no-sandbox", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"]
# drawn by the processor: no test machine needs a GPU
WITH_WEBGL = [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
WITHOUT_WEBGL = ["--disable-gpu", "--disable-3d-apis"]
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en"}


@contextmanager
def open_page(port: int) -> Iterator:
    """A page of the server on ``port``, in a browser with a new profile.

    Skips without playwright or a Chromium (named in CHROMIUM, or on the path).
    """
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; run: pip install playwright"
    )
    if not _chromium():
        pytest.skip("no Chromium was found; install one or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright, _page_of(playwright.chromium, port, WITH_WEBGL) as page:
        yield page


@contextmanager
def open_page_without_webgl(beside, port: int) -> Iterator:
    """Another page, in a browser of its own that cannot draw in three dimensions. beside: an open page."""
    with _page_of(beside.context.browser.browser_type, port, WITHOUT_WEBGL) as page:
        yield page


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def _page_of(browser_type, port: int, arguments: list[str]) -> Iterator:
    browser = browser_type.launch(executable_path=_chromium(), args=START + arguments)
    try:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(90_000)  # on a busy machine everything takes its time
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda message: page.problems.append(message.text) if "PersonaTalk" in message.text else None,
        )
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_function(f"() => window.app?.graph && {LOADED}", timeout=90_000)
        yield page
    finally:
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
    """Keep a picture in out/screenshots (or SCREENSHOTS), which git ignores, for somebody to look at."""
    folder = Path(os.environ.get("SCREENSHOTS") or ROOT / "out" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    page.evaluate("() => window.app.canvas.ds && window.app.canvas.draw(true, true)")
    page.screenshot(path=str(folder / f"{name}.png"))
