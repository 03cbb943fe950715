"""The README's file tree is the repository's: one line a file, its sentence the first of the file's own docstring.

``python tests/architecture/test_readme.py`` writes the tree anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- file tree -->\n", "<!-- end of file tree -->"
PACKAGES = ("personatalk_core", "nodes")
OTHERS = {
    "__init__.py": "ComfyUI entry of the pack",
    "web/": "in-app help, and what the node schemas cannot express, as plain ES modules",
    "workflows/": "example graphs with thumbnails",
    "locales/": "English and Chinese words of the nodes",
    "tests/": "mirror of the tree, plus architecture, workflows and end to end",
}


def first_sentence(path: Path) -> str:
    """First line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


def tree(root: Path = ROOT) -> str:
    """The tree as Markdown."""
    lines = ["```"]
    for package in PACKAGES:
        lines.append(f"{package}/")
        files = sorted(
            (root / package).rglob("*.py"), key=lambda p: (len(p.relative_to(root).parts) > 2, p.as_posix())
        )
        folder = ""
        for path in files:
            relative = path.relative_to(root / package)
            if path.name == "__init__.py" and not first_sentence(path):
                continue
            if len(relative.parts) > 1 and relative.parts[0] != folder:
                folder = relative.parts[0]
                lines.append(f"  {folder}/")
            indent = "  " * len(relative.parts)
            lines.append(f"{indent}{path.name:<{30 - len(indent)}} {first_sentence(path)}")
    lines += [f"{name:<30} {text}" for name, text in OTHERS.items()]
    return "\n".join([*lines, "```", ""])


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stat().st_size and not first_sentence(path)
    ]
    assert silent == []


def test_the_readme_shows_the_tree_as_it_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition(BEGIN)[2].partition(END)[0]
    assert shown == tree(), "run: python tests/architecture/test_readme.py"


def test_links_in_the_readme_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in t]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


if __name__ == "__main__":
    page = ROOT / "README.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + begin + tree() + END + rest.partition(END)[2], encoding="utf-8")
