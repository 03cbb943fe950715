"""Draws workflows/*.json (the page's own format) from short descriptions and the golden schemas, so that they
always fit the nodes.

usage: python tests/workflows/draw_workflows.py
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
COLUMN, TOP = 380, 60
SHOWN = {  # pixels for what a node shows once it ran
    "LoadVideo": 330,
    "LoadAudio": 120,
    "SaveVideo": 330,
    "PersonaTalkDubVideo": 310,
    "PersonaTalkRenderFaces": 310,
    "PersonaTalkPreviewGeometry": 330,
    "PersonaTalkSelectReferences": 220,
    "PersonaTalkExtractStyle": 80,
    "PersonaTalkMixStyles": 110,
    "PreviewAny": 160,
    "PreviewImage": 300,
}
PERSON, SPEAKER, SPEECH = "talking_person.mp4", "other_speaker.mp4", "new_speech.wav"

CORE_NODES = {  # the host's own nodes that the workflows use: inputs, widget values that follow them, outputs
    "LoadVideo": ([("file", "COMBO")], [("VIDEO", "VIDEO")]),
    "LoadAudio": ([("audio", "COMBO")], [("AUDIO", "AUDIO")]),
    "SaveVideo": (
        [("video", "VIDEO"), ("filename_prefix", "STRING"), ("format", "COMBO"), ("format.codec", "COMBO")],
        [("video", "VIDEO")],
    ),
    "GetVideoComponents": (
        [("video", "VIDEO")],
        [
            ("images", "IMAGE"),
            ("audio", "AUDIO"),
            ("fps", "FLOAT"),
            ("bit_depth", "INT"),
            ("color_space", "COMBO"),
        ],
    ),
    "ImageSharpen": (
        [("image", "IMAGE"), ("sharpen_radius", "INT"), ("sigma", "FLOAT"), ("alpha", "FLOAT")],
        [("IMAGE", "IMAGE")],
    ),
    "CreateVideo": (
        [("images", "IMAGE"), ("fps", "FLOAT"), ("audio", "AUDIO"), ("bit_depth", "INT")],
        [("VIDEO", "VIDEO")],
    ),
    "PreviewAny": ([("source", "*")], [("STRING", "STRING")]),
    "PreviewImage": ([("images", "IMAGE")], []),
}


@dataclass
class Node:
    """One node of a drawing. wires: input name to (node name, output name)."""

    type: str
    column: int
    values: dict[str, object] = field(default_factory=dict)
    wires: dict[str, tuple[str, str]] = field(default_factory=dict)
    title: str = ""


def person(column: int = 0) -> dict[str, Node]:
    return {
        "models": Node("PersonaTalkLoadModels", column),
        "person": Node("LoadVideo", column, {"file": PERSON}, title="The person in the video"),
        "speech": Node("LoadAudio", column, {"audio": SPEECH}, title="What they shall say"),
    }


def geometry_of(name: str, video: str, column: int) -> dict[str, Node]:
    return {
        f"{name} track": Node(
            "PersonaTalkTrackFace", column, wires={"models": ("models", "models"), "video": (video, "VIDEO")}
        ),
        f"{name} geometry": Node(
            "PersonaTalkEstimateGeometry",
            column,
            wires={"models": ("models", "models"), "track": (f"{name} track", "track")},
        ),
    }


def style_of(name: str, geometry: str, column: int) -> dict[str, Node]:
    wires = {"models": ("models", "models"), "geometry": (geometry, "geometry"), "video": (name, "VIDEO")}
    return {f"{name} style": Node("PersonaTalkExtractStyle", column, {"name": name}, wires)}


def speaking(column: int, style: str = "") -> dict[str, Node]:
    wires = {
        "models": ("models", "models"),
        "geometry": ("person geometry", "geometry"),
        "audio": ("speech", "AUDIO"),
    }
    wires |= {"style": (style, "style")} if style else {}
    return {"speaking": Node("PersonaTalkGenerateGeometry", column, {"length": "bounce"}, wires)}


def rendered(name: str, column: int, references: str = "", prefix: str = "") -> dict[str, Node]:
    wires = {
        "models": ("models", "models"),
        "video": ("person", "VIDEO"),
        "geometry": ("speaking", "geometry"),
    }
    wires |= {"references": (references, "references")} if references else {}
    return {
        name: Node("PersonaTalkRenderFaces", column, wires=wires),
        f"save {name}": saved(name, prefix or name, column + 1),
    }


def saved(source: str, prefix: str, column: int) -> Node:
    return Node(
        "SaveVideo",
        column,
        {"filename_prefix": f"personatalk/{prefix}", "format": "auto", "format.codec": "auto"},
        {"video": (source, "video")},
    )


def dub_video() -> dict[str, Node]:
    wires = {"models": ("models", "models"), "video": ("person", "VIDEO"), "audio": ("speech", "AUDIO")}
    return {
        **person(),
        "dub": Node("PersonaTalkDubVideo", 1, {"length": "bounce"}, wires),
        "save": saved("dub", "dub", 2),
        "report": Node(
            "PreviewAny", 2, wires={"source": ("dub", "report")}, title="What happened to each frame"
        ),
    }


def step_by_step() -> dict[str, Node]:
    chosen = {
        "models": ("models", "models"),
        "video": ("person", "VIDEO"),
        "geometry": ("edited", "geometry"),
    }
    steps = {
        **person(),
        **geometry_of("person", "person", 1),
        **speaking(2),
        "edited": Node(
            "PersonaTalkEditGeometry",
            2,
            wires={"models": ("models", "models"), "geometry": ("speaking", "geometry")},
        ),
        "preview": Node("PersonaTalkPreviewGeometry", 3, wires=chosen),
        "save preview": saved("preview", "geometry", 4),
        "references": Node("PersonaTalkSelectReferences", 3, wires=chosen),
        **rendered("dub", 4, "references", "step_by_step"),
    }
    steps["dub"].wires["geometry"] = ("edited", "geometry")
    return steps


def swap_style() -> dict[str, Node]:
    return {
        **person(),
        "speaker": Node("LoadVideo", 0, {"file": SPEAKER}, title="Whose way of speaking"),
        **geometry_of("person", "person", 1),
        **geometry_of("speaker", "speaker", 1),
        **style_of("speaker", "speaker geometry", 2),
        "save style": Node(
            "PersonaTalkSaveStyle", 3, {"file_name": "other_speaker"}, {"style": ("speaker style", "style")}
        ),
        **speaking(3, "speaker style"),
        **rendered("dub", 4, prefix="swap_style"),
    }


def mix_styles() -> dict[str, Node]:
    wires = {"style_a": ("person style", "style"), "style_b": ("speaker style", "style")}
    return {
        **person(),
        "speaker": Node("LoadVideo", 0, {"file": SPEAKER}, title="Whose way of speaking is mixed in"),
        **geometry_of("person", "person", 1),
        **geometry_of("speaker", "speaker", 1),
        **style_of("person", "person geometry", 2),
        **style_of("speaker", "speaker geometry", 2),
        "mixed": Node("PersonaTalkMixStyles", 3, {"weight_a": 0.5, "weight_b": 0.5}, wires),
        "map": Node(
            "PersonaTalkStyleMap",
            3,
            wires={
                "style_a": ("person style", "style"),
                "style_b": ("mixed", "style"),
                "style_c": ("speaker style", "style"),
            },
        ),
        "show map": Node("PreviewImage", 4, wires={"images": ("map", "map")}),
        **speaking(3, "mixed"),
        **rendered("dub", 4, prefix="mix_styles"),
    }


def compare_references() -> dict[str, Node]:
    wires = {
        "models": ("models", "models"),
        "video": ("person", "VIDEO"),
        "geometry": ("speaking", "geometry"),
    }
    return {
        **person(),
        **geometry_of("person", "person", 1),
        **speaking(2),
        "many": Node(
            "PersonaTalkSelectReferences", 3, {"lip_references": 25}, wires, title="25 mouth frames"
        ),
        "few": Node("PersonaTalkSelectReferences", 3, {"lip_references": 3}, wires, title="3 mouth frames"),
        **rendered("dub many", 4, "many", "references_25"),
        **rendered("dub few", 4, "few", "references_3"),
    }


def evaluate() -> dict[str, Node]:
    wires = {"models": ("models", "models"), "video": ("person", "VIDEO"), "audio": ("speech", "AUDIO")}
    return {
        **person(),
        "dub": Node("PersonaTalkDubVideo", 1, {"length": "bounce"}, wires),
        "save": saved("dub", "evaluated", 2),
        "evaluated": Node(
            "PersonaTalkEvaluateDub",
            2,
            {"length": "bounce"},
            {
                "models": ("models", "models"),
                "source": ("person", "VIDEO"),
                "dubbed": ("dub", "video"),
                "audio": ("speech", "AUDIO"),
            },
        ),
        "table": Node("PreviewAny", 3, wires={"source": ("evaluated", "table")}, title="The numbers"),
    }


def paste_back() -> dict[str, Node]:
    """A graded version of the source gets the faces that were rendered from the source itself."""
    wires = {
        "video": ("graded video", "VIDEO"),
        "rendered": ("dub", "video"),
        "mask": ("dub", "mask"),
        "geometry": ("speaking", "geometry"),
    }
    steps = {
        **person(),
        **geometry_of("person", "person", 1),
        **speaking(2),
        **rendered("dub", 2, prefix="before_grading"),
    }
    steps.pop("save dub")
    return steps | {
        "parts": Node("GetVideoComponents", 1, wires={"video": ("person", "VIDEO")}),
        "graded": Node(
            "ImageSharpen",
            2,
            {"sharpen_radius": 2, "sigma": 1.0, "alpha": 0.5},
            {"image": ("parts", "images")},
            "Your grading",
        ),
        "graded video": Node(
            "CreateVideo",
            3,
            {"fps": 15.0, "bit_depth": 8},
            {"images": ("graded", "IMAGE"), "fps": ("parts", "fps")},
        ),
        "pasted": Node("PersonaTalkPasteBack", 3, {"feather": 4.0}, wires),
        "save": saved("pasted", "paste_back", 4),
    }


DRAWINGS = {
    "dub_video": dub_video,
    "step_by_step": step_by_step,
    "swap_style": swap_style,
    "mix_styles": mix_styles,
    "compare_references": compare_references,
    "evaluate": evaluate,
    "paste_back": paste_back,
}


def schema(node_type: str) -> tuple[list[tuple[str, str, object]], list[tuple[str, str]]]:
    """Inputs (name, type, default) and outputs (name, type) of a node."""
    if node_type in CORE_NODES:
        inputs, outputs = CORE_NODES[node_type]
        return [(name, kind, None) for name, kind in inputs], outputs
    info = json.loads((ROOT / "tests" / "nodes" / "object_info.json").read_text(encoding="utf-8"))[node_type]
    inputs = []
    for group in ("required", "optional"):
        for name, (kind, options) in info["input"].get(group, {}).items():
            default = options.get("default", (options.get("options") or [None])[0])
            inputs.append((name, kind, default))
    return inputs, list(zip(info["output_name"], info["output"], strict=True))


def draw(name: str, nodes: dict[str, Node]) -> dict:
    """The workflow as the page saves it."""
    numbers = {key: number for number, key in enumerate(nodes, start=1)}
    links, drawn, outgoing = [], [], {}
    height = dict.fromkeys(range(20), TOP)
    for key, node in nodes.items():
        inputs, outputs = schema(node.type)
        for slot, (input_name, kind, _) in enumerate(inputs):
            if input_name in node.wires:
                source, output_name = node.wires[input_name]
                source_outputs = [n for n, _ in schema(nodes[source].type)[1]]
                link = [
                    len(links) + 1,
                    numbers[source],
                    source_outputs.index(output_name),
                    numbers[key],
                    slot,
                    kind,
                ]
                links.append(link)
                outgoing.setdefault((link[1], link[2]), []).append(link[0])
        into = {link[4]: link[0] for link in links if link[3] == numbers[key]}
        widgets = [(n, k, d) for n, k, d in inputs if k in WIDGETS]
        size = [320, 60 + 26 * (len(inputs) + len(outputs)) + SHOWN.get(node.type, 0)]
        drawn.append(
            {
                "id": numbers[key],
                "type": node.type,
                "pos": [COLUMN * node.column + 40, height[node.column]],
                "size": size,
                "flags": {},
                "order": numbers[key] - 1,
                "mode": 0,
                "inputs": [
                    {"name": n, "type": k, "link": into.get(slot)}
                    | ({"widget": {"name": n}} if k in WIDGETS else {})
                    for slot, (n, k, _) in enumerate(inputs)
                ],
                "outputs": [
                    {"name": n, "type": k, "links": outgoing.setdefault((numbers[key], slot), [])}
                    for slot, (n, k) in enumerate(outputs)
                ],
                "properties": {"Node name for S&R": node.type}
                | ({"cnr_id": "personatalk"} if node.type.startswith("PersonaTalk") else {}),
                "widgets_values": [node.values.get(n, d) for n, _, d in widgets],
            }
            | ({"title": node.title} if node.title else {})
        )
        height[node.column] += size[1] + 60
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"personatalk/{name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": drawn,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def text_of(name: str) -> str:
    return json.dumps(draw(name, DRAWINGS[name]()), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WORKFLOWS.mkdir(exist_ok=True)
    for workflow in DRAWINGS:
        (WORKFLOWS / f"{workflow}.json").write_text(text_of(workflow), encoding="utf-8")
