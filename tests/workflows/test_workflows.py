"""The workflows fit the nodes: every node exists, every wire joins equal sockets, every required input is
there."""

import json
from pathlib import Path

import pytest
from workflow_prompt import prompt_of

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "workflows").glob("*.json"))
INFO = json.loads((ROOT / "tests" / "nodes" / "object_info.json").read_text(encoding="utf-8"))
NEEDED = {
    "dub_video",
    "step_by_step",
    "swap_style",
    "mix_styles",
    "compare_references",
    "evaluate",
    "paste_back",
}


def problems(workflow: dict, core_nodes) -> list[str]:
    """One sentence for everything that would keep the workflow from loading or from passing the server's
    check."""
    found, nodes = [], {node["id"]: node for node in workflow["nodes"]}
    for node in workflow["nodes"]:
        if node["type"] not in INFO and node["type"] not in core_nodes:
            found.append(f"node {node['id']} is a {node['type']}, which does not exist")
            continue
        expected = INFO[node["type"]]["input"] if node["type"] in INFO else {}
        given = prompt_of(workflow)[str(node["id"])]["inputs"]
        found += [
            f"{node['type']} lacks {name}" for name in expected.get("required", {}) if name not in given
        ]
        known = {**expected.get("required", {}), **expected.get("optional", {})}
        for name, value in given.items():
            if not known or isinstance(value, list):
                continue
            options = known[name][1]
            if "options" in options and options["options"] and value not in options["options"]:
                found.append(f"{node['type']}.{name} is {value}, which it does not offer")
            if "min" in options and not options["min"] <= value <= options["max"]:
                found.append(f"{node['type']}.{name} is {value}, outside its range")
    for number, source, out_slot, target, in_slot, kind in workflow["links"]:
        sent, taken = nodes[source]["outputs"][out_slot], nodes[target]["inputs"][in_slot]
        if kind != "*" and not sent["type"] == taken["type"] == kind:
            found.append(f"link {number} joins {sent['type']} to {taken['type']}")
        if number not in sent["links"] or taken["link"] != number:
            found.append(f"link {number} is not known to both of its ends")
    return found


def test_all_workflows_are_there():
    assert {path.stem for path in FILES} >= NEEDED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflow_has_a_small_thumbnail(path):
    picture = path.with_suffix(".jpg").read_bytes()
    assert picture[:2] == b"\xff\xd8" and len(picture) < 200_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflow_fits_the_nodes(path, drawing):
    assert problems(json.loads(path.read_text(encoding="utf-8")), drawing.CORE_NODES) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflow_is_the_drawn_one(path, drawing):
    assert path.read_text(encoding="utf-8") == drawing.text_of(path.stem), (
        "run: python tests/workflows/draw_workflows.py"
    )


def test_a_broken_workflow_is_noticed(drawing):
    workflow = drawing.draw("dub_video", drawing.DRAWINGS["dub_video"]())
    workflow["nodes"][0]["type"] = "PersonaTalkGone"
    dub = next(node for node in workflow["nodes"] if node["type"] == "PersonaTalkDubVideo")
    dub["widgets_values"][0] = "backwards"
    workflow["links"][0][5] = "IMAGE"
    found = "\n".join(problems(workflow, drawing.CORE_NODES))
    assert "PersonaTalkGone" in found and "backwards" in found and "link 1 joins" in found
