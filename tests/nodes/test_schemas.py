"""What the pack promises to its host: the golden /object_info, light import, a tooltip everywhere, a page and
words for every node."""

import json
import shutil
from pathlib import Path

import pytest

from personatalk_core.config import option_fields

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads(Path(__file__).with_name("object_info.json").read_text(encoding="utf-8"))
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
MAX_IMPORT_SECONDS = 0.3


def inputs_of(info):
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def test_object_info_is_the_golden_one(described):
    assert described["nodes"] == GOLDEN, (
        "if the change is meant, run: python tests/nodes/describe_pack.py --golden"
    )


def test_import_is_light(described):
    assert described["heavy"] == []
    assert described["import_seconds"] < MAX_IMPORT_SECONDS


def test_import_succeeds_without_weights(described_copy, tmp_path):
    """A clone without its weight files offers the same nodes; Load Models says what is missing when it
    runs."""
    for folder in ("nodes", "personatalk_core"):
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns("*.safetensors", "*.task", "*.wav", "__pycache__"),
        )
    shutil.copy(ROOT / "__init__.py", tmp_path)
    assert described_copy(tmp_path)["nodes"].keys() == GOLDEN.keys()


@pytest.mark.parametrize("node", GOLDEN)
def test_names(node):
    info = GOLDEN[node]
    assert node.startswith("PersonaTalk") and node == info["name"]
    assert info["category"] == "PersonaTalk" and info["display_name"].endswith("(PersonaTalk)")
    assert len(info["description"]) > 20


@pytest.mark.parametrize("node", GOLDEN)
def test_every_input_and_output_says_its_consequence(node):
    info = GOLDEN[node]
    assert [
        name for name, (_, options) in inputs_of(info).items() if len(options.get("tooltip", "")) < 12
    ] == []
    assert None not in info["output_tooltips"]


@pytest.mark.parametrize("node", GOLDEN)
def test_every_number_has_its_range(node):
    for name, (kind, options) in inputs_of(GOLDEN[node]).items():
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"] and options["step"] > 0, name


@pytest.mark.parametrize("node", GOLDEN)
def test_widgets_that_are_options_of_a_dub_are_the_option_tables(node):
    options = option_fields()
    for name, (kind, shown) in inputs_of(GOLDEN[node]).items():
        option = options.get(name)
        if option is None or kind not in WIDGETS:
            continue
        assert (shown["tooltip"], shown["default"]) == (option.tooltip, option.default)
        assert shown.get("min") == option.min and option.accepts(shown.get("max", option.default))
        assert bool(shown.get("advanced")) == option.advanced


@pytest.mark.parametrize("node", GOLDEN)
def test_help_page(node):
    page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    info = GOLDEN[node]
    missing = [name for name in [*inputs_of(info), *info["output_name"]] if f"`{name}`" not in page]
    assert missing == []


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("node", GOLDEN)
def test_words(node, language):
    words = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[node]
    info = GOLDEN[node]
    assert words["display_name"] and words["description"]
    assert [name for name in inputs_of(info) if not words["inputs"].get(name, {}).get("tooltip")] == []
    assert set(words["inputs"]) <= set(inputs_of(info)), "words for an input that does not exist"
    assert len(words.get("outputs", {})) == len(info["output"])


@pytest.mark.parametrize("node", GOLDEN)
def test_english_words_are_the_schemas_own(node):
    words = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))[node]
    info = GOLDEN[node]
    assert words["description"] == info["description"]
    assert {name: text["tooltip"] for name, text in words["inputs"].items()} == {
        n: o["tooltip"] for n, (_, o) in inputs_of(info).items()
    }
    assert [words["outputs"][str(k)]["tooltip"] for k in range(len(info["output"]))] == info[
        "output_tooltips"
    ]


def test_the_gate_sees_a_widget_without_a_tooltip():
    broken = {"input": {"required": {"x": ["FLOAT", {"default": 1.0}]}}}
    assert [
        name for name, (_, options) in inputs_of(broken).items() if len(options.get("tooltip", "")) < 12
    ] == ["x"]
