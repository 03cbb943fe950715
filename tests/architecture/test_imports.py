"""The house's rules, read from the source by ast: who may import whom, and what nobody may do.

Every rule is a function from a checkout's root to a list of sentences, one a violation. Each is tested twice:
the repository has none, and a violation planted in a small tree is found.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "personatalk_core"
FOUNDATION = {"types", "config", "checks", "errors", "weights"}
STAGES = {"media", "tracking", "geometry", "speech", "rendering", "compose"}
PRODUCT = FOUNDATION | STAGES | {"models", "pipeline", "dubbing", "previews", "samples", "batch"}
MAY_IMPORT = {
    "errors": set(),
    "checks": {"errors"},
    "types": {"checks", "errors"},
    "config": {"errors"},
    "weights": FOUNDATION,
    "media": FOUNDATION,
    "geometry": FOUNDATION,
    "tracking": FOUNDATION,
    "speech": FOUNDATION | {"geometry"},
    "rendering": FOUNDATION | {"geometry"},
    "compose": FOUNDATION | {"geometry"},
    "models": FOUNDATION | {"geometry", "tracking", "rendering", "speech"},
    "dubbing": FOUNDATION | STAGES | {"models"},
    "previews": FOUNDATION | STAGES | {"models"},
    "pipeline": FOUNDATION | STAGES | {"models", "dubbing"},
    "samples": FOUNDATION | {"media"},
    "batch": FOUNDATION | {"media", "speech", "models", "dubbing", "pipeline"},
    "evaluation": PRODUCT - {"batch"},
    "training": PRODUCT - {"batch"} | {"evaluation"},
    "cli": PRODUCT | {"evaluation", "training"},
}
TRAINING_USERS = {"training", "cli"}  # the command line has verbs for it
EVALUATION_USERS = {"evaluation", "training", "cli"}
MAX_LOOSE_MODULES = 8  # at the core's root, beside its __init__
MAY_READ_ENVIRONMENT = {"cli/batch.py"}  # says no to Ray's usage statistics
HOST_MODULES = {"folder_paths", "nodes", "server", "execution", "node_helpers"}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "jsonpickle", "joblib", "marshal", "shelve"}
PICKLED_FILES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy"}
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "misc", "common", "stuff", "v2"}


# Reading the source


def source_files(root: Path, *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Each Python file of the folders (of the root's own level for "."), parsed."""
    for folder in folders or (".", CORE, "nodes", "tests"):
        found = root.glob("*.py") if folder == "." else (root / folder).rglob("*.py")
        for path in sorted(found):
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, tree: ast.AST, root: Path) -> Iterator[tuple[str, int]]:
    """Every imported module as an absolute dotted name, at any depth, with its line."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:  # "from . import x" may mean the module x
                yield ".".join([*module, alias.name]), node.lineno


def place(path: Path, root: Path, line: int | None = None) -> str:
    return f"{path.relative_to(root)}{f':{line}' if line else ''}"


def part_of(name: str) -> str | None:
    """'speech' for 'personatalk_core.speech.style', None for anything outside the core."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == CORE and len(pieces) > 1 else None


def core_arrows(root: Path) -> Iterator[tuple[Path, int, str, str]]:
    """(file, line, part of the core it belongs to, part of the core it imports)."""
    for path, tree in source_files(root, CORE):
        own = path.relative_to(root / CORE).with_suffix("").parts[0]
        for name, line in imports(path, tree, root):
            other = part_of(name)
            if other not in (None, own):
                yield path, line, own, other


# The rules


def stages_import_only_what_lies_below(root: Path) -> list[str]:
    found = []
    for path, line, own, other in core_arrows(root):
        allowed = MAY_IMPORT.get(own)
        is_module = (root / CORE / f"{other}.py").exists() or (
            root / CORE / other
        ).is_dir()  # else a name of the core's __init__
        if allowed is not None and other not in allowed and is_module:
            found.append(
                f"{place(path, root, line)}: {own} imports {other}, "
                f"but may import only {', '.join(sorted(allowed)) or 'nothing'}"
            )
    return found


def speech_and_rendering_never_meet(root: Path) -> list[str]:
    pairs = {("speech", "rendering"), ("rendering", "speech")}
    return [
        f"{place(p, root, n)}: {own} imports {other}; they meet in types and the pipeline"
        for p, n, own, other in core_arrows(root)
        if (own, other) in pairs
    ]


def nothing_but_the_command_line_imports_training(root: Path) -> list[str]:
    found = [
        f"{place(p, root, n)}: {own} imports training"
        for p, n, own, other in core_arrows(root)
        if other == "training" and own not in TRAINING_USERS
    ]
    for path, tree in source_files(root, ".", "nodes"):
        found += [
            f"{place(path, root, line)}: imports training"
            for name, line in imports(path, tree, root)
            if part_of(name) == "training"
        ]
    return found


def only_training_and_the_command_line_import_evaluation(root: Path) -> list[str]:
    return [
        f"{place(p, root, n)}: {own} imports evaluation"
        for p, n, own, other in core_arrows(root)
        if other == "evaluation" and own not in EVALUATION_USERS
    ]


def import_graph(root: Path) -> dict[str, set[str]]:
    """Each module of the core by its dotted name, and those it imports: at any depth, for types only, too.

    The core's own __init__, the public face, is left out: it opens a room when a name is asked for.
    """
    modules = {}
    for path, tree in source_files(root, CORE):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = (path, tree)
    graph = {}
    for name, (path, tree) in modules.items():
        named = {imported for imported, _ in imports(path, tree, root)}
        found = {other if other in modules else other.rpartition(".")[0] for other in named}
        graph[name] = (found & set(modules)) - {name, CORE}
    return {name: found for name, found in graph.items() if name != CORE}


def no_import_circles(root: Path) -> list[str]:
    graph, found = import_graph(root), {}
    for start in graph:
        ways = [[start]]
        reached = {start}
        while ways:  # the shortest way from a module to itself
            way = ways.pop(0)
            if start in graph[way[-1]]:
                found.setdefault(frozenset(way), " imports ".join([*way, start]))
                break
            ways += [[*way, other] for other in sorted(graph[way[-1]] - reached)]
            reached |= graph[way[-1]]
    return sorted(found.values())


def few_loose_modules(root: Path) -> list[str]:
    loose = sorted(path.name for path in (root / CORE).glob("*.py") if path.name != "__init__.py")
    if len(loose) <= MAX_LOOSE_MODULES:
        return []
    return [f"{len(loose)} modules lie loose at the core's root: {', '.join(loose)}; put them in rooms"]


def every_room_is_in_the_table(root: Path) -> list[str]:
    rooms = {path.parent.name for path in (root / CORE).glob("*/__init__.py")}
    return [f"{room} is a room that MAY_IMPORT does not know" for room in sorted(rooms - set(MAY_IMPORT))]


def core_has_never_heard_of_comfyui(root: Path) -> list[str]:
    found = []
    for path, tree in source_files(root, CORE):
        for name, line in imports(path, tree, root):
            top = name.split(".")[0]
            if top.startswith("comfy") or top in HOST_MODULES:
                found.append(f"{place(path, root, line)}: imports {name}")
    return found


def core_imports_itself_relatively(root: Path) -> list[str]:
    found = []
    for path, tree in source_files(root, CORE):
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [
                f"{place(path, root, node.lineno)}: imports {n} by its full name; write it relatively"
                for n in names
                if n.split(".")[0] == CORE
            ]
    return found


def core_reads_no_environment(root: Path) -> list[str]:
    found = []
    for path, tree in source_files(root, CORE):
        if path.relative_to(root / CORE).as_posix() in MAY_READ_ENVIRONMENT:
            continue
        for node in ast.walk(tree):
            attribute = (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and f"{node.value.id}.{node.attr}"
            )
            if attribute in {"os.environ", "os.getenv", "os.putenv", "os.environb"}:
                found.append(f"{place(path, root, node.lineno)}: {attribute}; take it as an argument")
        found += [
            f"{place(path, root, line)}: imports {n}"
            for n, line in imports(path, tree, root)
            if n in {"os.environ", "os.getenv"}
        ]
    return found


def nothing_unpickles_or_evaluates(root: Path) -> list[str]:
    found = []
    for path, tree in source_files(root):
        for name, line in imports(path, tree, root):
            if name.split(".")[0] in PICKLES or name in {"torch.load", "os.system", "os.popen"}:
                found.append(f"{place(path, root, line)}: imports {name}")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            unsafe = {
                "eval",
                "exec",
                "compile",
                "torch.load",
                "os.system",
                "os.popen",
                "builtins.eval",
                "builtins.exec",
                "torch.hub.load",
                "yaml.load",
                "yaml.unsafe_load",
                "pandas.read_pickle",
                "pd.read_pickle",
                "torch.jit.load",
            }
            keywords = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            opened = {k for k in ("shell", "allow_pickle", "trust_remote_code") if keywords.get(k) is True}
            if call in unsafe or opened or keywords.get("weights_only") is False:
                found.append(f"{place(path, root, node.lineno)}: {ast.unparse(node)}")
            if call.startswith(("os.exec", "os.spawn")) or call in (
                "subprocess.getoutput",
                "subprocess.getstatusoutput",
            ):
                found.append(
                    f"{place(path, root, node.lineno)}: {ast.unparse(node)}; pass a list to subprocess.run"
                )
    for folder in (CORE, "nodes", "tests", "workflows", "web"):
        files = (root / folder).rglob("*") if (root / folder).is_dir() else ()
        found += [
            f"{place(path, root)}: a file that would have to be unpickled"
            for path in files
            if path.suffix.lower() in PICKLED_FILES
        ]
    return found


def root_init_imports_nothing(root: Path) -> list[str]:
    tree = ast.parse((root / "__init__.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    return [
        f"__init__.py:{node.lineno}: {ast.unparse(node)} at module level"
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in inside
    ]


def no_vague_file_names(root: Path) -> list[str]:
    return [
        f"{place(path, root)}: name it by a term of the paper or of the field"
        for path, _ in source_files(root)
        if VAGUE_NAMES & set(re.split(r"[_.]", "_".join(path.relative_to(root).parts).lower()))
    ]


def requirements_equal_the_project(root: Path) -> list[str]:
    lines = (root / "requirements.txt").read_text().splitlines()
    listed = [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    found = [f"{name} is in requirements.txt only" for name in sorted(set(listed) - set(project))]
    found += [f"{name} is in pyproject.toml only" for name in sorted(set(project) - set(listed))]
    names = {re.split(r"[^A-Za-z0-9_-]", name)[0].lower() for name in [*listed, *project]}
    return found + [
        f"{name} comes with ComfyUI and must not be listed"
        for name in sorted(names & {"torch", "torchvision", "torchaudio"})
    ]


def public_names_have_docstrings(root: Path) -> list[str]:
    found = []
    for path, tree in source_files(root, CORE):
        if tree.body and not ast.get_docstring(tree):
            found.append(f"{place(path, root)}: the module has no docstring")
        for node in tree.body:
            named = isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            ) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                found.append(f"{place(path, root, node.lineno)}: {node.name} has no docstring")
    return found


PLANTED: dict = {
    stages_import_only_what_lies_below: [
        {"geometry/fitting.py": "from ..tracking.track import track_face", "tracking/track.py": ""},
        {"errors.py": "from .types import Pncc", "types.py": ""},
        {"media/audio_stream.py": "def f():\n    from .. import pipeline", "pipeline.py": ""},
        {"tracking/track.py": "from ..geometry import camera", "geometry/camera.py": ""},
        {"dubbing/run.py": "from ..pipeline import dub", "pipeline.py": ""},
        {"previews/style_map.py": "from ..cli import parser", "cli/__init__.py": ""},
        {"pipeline.py": "from .previews import style_map", "previews/style_map.py": ""},
        {"samples/demo.py": "from ..tracking import track", "tracking/track.py": ""},
        {"batch/job.py": "from ..cli.options import options_of", "cli/options.py": ""},
        {"evaluation/table.py": "from ..batch import job", "batch/job.py": ""},
    ],
    speech_and_rendering_never_meet: [
        {"speech/style.py": "from ..rendering.encoders import E"},
        {"rendering/decoder.py": "def f():\n    from ..speech import style"},
    ],
    nothing_but_the_command_line_imports_training: [
        {"pipeline.py": "from .training.losses import lip_loss"},
        {"../nodes/dub.py": "from ..personatalk_core.training import losses"},
        {"evaluation/reports.py": "from .. import training"},
    ],
    only_training_and_the_command_line_import_evaluation: [
        {"pipeline.py": "from .evaluation import reconstruct"},
        {"batch/job.py": "def f():\n    from ..evaluation.metrics import table"},
    ],
    no_import_circles: [
        {"media/a.py": "from .b import B", "media/b.py": "from . import a"},
        {"media/a.py": "from .b import B", "media/b.py": "def f():\n    from .a import A"},
        {
            "media/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import B",
            "media/b.py": "from .c import C",
            "media/c.py": "from ..media.a import A",
        },
        {"media/__init__.py": "from .a import A", "media/a.py": "from ..media import A"},
    ],
    few_loose_modules: [{f"m{number}.py": "" for number in range(MAX_LOOSE_MODULES - 1)}],
    every_room_is_in_the_table: [{"attic/__init__.py": ""}],
    core_has_never_heard_of_comfyui: [
        {"pipeline.py": "import comfy.utils"},
        {"pipeline.py": "def f():\n    from comfy_api.latest import io"},
        {"weights/resolver.py": "import folder_paths"},
    ],
    core_imports_itself_relatively: [
        {"pipeline.py": "import personatalk_core.types"},
        {"pipeline.py": "from personatalk_core.types import Pncc"},
    ],
    core_reads_no_environment: [
        {"weights/hub.py": "import os\nos.environ['HF_HOME']"},
        {"models.py": "import os\nos.getenv('DEVICE')"},
        {"models.py": "from os import environ"},
        {"media/parser.py": "import os\nos.environ"},
    ],
    nothing_unpickles_or_evaluates: [
        {"weights/a.py": "import pickle"},
        {"weights/a.py": "import torch\ntorch.load('a')"},
        {"weights/a.py": "from torch import load"},
        {"weights/a.py": "eval('1')"},
        {"weights/a.py": "import subprocess\nsubprocess.run('ls', shell=True)"},
        {"weights/a.py": "import numpy as np\nnp.load('a', allow_pickle=True)"},
        {"../tests/test_a.py": "exec('1')"},
        {"weights/a.py": "compile('1', 'a', 'eval')"},
        {"weights/a.py": "import torch\ntorch.hub.load('a', 'b')"},
        {"weights/a.py": "f('a', weights_only=False)"},
        {"weights/a.py": "Model.from_pretrained('a', trust_remote_code=True)"},
        {"weights/a.py": "import os\nos.execv('a', [])"},
        {"weights/renderer.pth": ""},
        {"../workflows/a.pkl": ""},
        {"../nodes/a.py": "import os\nos.system('ls')"},
    ],
    root_init_imports_nothing: [
        {"../__init__.py": "import torch"},
        {"../__init__.py": "try:\n    from .nodes import X\nexcept ImportError:\n    pass"},
    ],
    no_vague_file_names: [
        {"utils.py": ""},
        {"media/video_helpers.py": ""},
        {"common/audio.py": ""},
        {"../nodes/misc.py": ""},
    ],
    requirements_equal_the_project: [
        {"../requirements.txt": "numpy>=1.26  # arrays\nscipy>=1.13  # filters\n"},
        {"../requirements.txt": ""},
        {
            "../requirements.txt": "numpy>=1.26\ntorch>=2\n",
            "../pyproject.toml": '[project]\ndependencies = ["numpy>=1.26", "torch>=2"]\n',
        },
    ],
    public_names_have_docstrings: [
        {"a.py": '"""M."""\ndef f():\n    pass'},
        {"a.py": '"""M."""\nclass A:\n    pass'},
        {"a.py": "x = 1"},
    ],
}
CLEAN = {
    "__init__.py": '"""Core."""',
    "types.py": '"""T."""\nfrom .errors import E',
    "errors.py": '"""E."""\nclass E(Exception):\n    """E."""',
    "speech/style.py": '"""S."""\nimport torch\nfrom ..geometry import camera\n'
    "from ..types import E\nfrom .timeline import T\n",
    "geometry/camera.py": '"""C."""\ndef _private(module):\n    module.eval()\n',
    "compose/crop.py": '"""C."""\nfrom ..geometry.camera import project',
    "cli/batch.py": '"""C."""\nimport os\nfrom .training import loop\nos.environ\n',
    "../__init__.py": "def f():\n    from .nodes import X",
    "../nodes/dub.py": "from ..personatalk_core.pipeline import dub\nimport comfy_api",
    "../requirements.txt": "numpy>=1.26  # arrays\n",
    "../pyproject.toml": '[project]\ndependencies = ["numpy>=1.26"]\n',
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in {**CLEAN, **files}.items():
        path = (root / CORE / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_repository_obeys(rule):
    found = rule(ROOT)
    assert not found, f"{rule.__name__.replace('_', ' ')}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "files"), [(rule, files) for rule, cases in PLANTED.items() for files in cases]
)
def test_planted_violation_is_found(rule, files, tmp_path):
    assert rule(plant(tmp_path.resolve(), files)), f"{rule.__name__} does not notice {files}"


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_clean_tree_is_accepted(rule, tmp_path):
    assert rule(plant(tmp_path.resolve(), {})) == []
