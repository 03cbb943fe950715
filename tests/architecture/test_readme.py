"""Every module says what it is; the README is short, and what the documents say exists."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from personatalk_core.cli import build_parser
from personatalk_core.evaluation.studies import STUDIES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("personatalk_core", "nodes")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.md")
    if not {".venv", "node_modules", "out", "shared"} & set(path.relative_to(ROOT).parts)
)
MOST_BYTES = 10 * 1024  # a README that is read to its end
MOST_PICTURE_BYTES = 1_500_000


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_sentence(path: Path) -> str:
    """First line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


def commands(text: str, program: str) -> list[list[str]]:
    """What follows a program's name in a document's code blocks and code spans, as words."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [shlex.split(line)[len(program.split()) :] for line in lines if line.startswith(program + " ")]


def anchors(text: str) -> set[str]:
    """The names under which a document's headings can be linked to."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def verbs() -> dict[str, argparse.ArgumentParser]:
    parsers = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(parsers[0].choices)


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stat().st_size and not first_sentence(path)
    ]
    assert silent == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


def test_the_moving_picture_is_light():
    assert (ROOT / "web/docs/images/before_after.webp").stat().st_size <= MOST_PICTURE_BYTES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


def test_the_readme_links_to_something():
    assert re.findall(r"\]\((?!http)[^)#]+\)", text_of("README.md"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_verbs_studies_and_options_exist(name):
    known, wrong = verbs(), []
    found = commands(text_of(name), "personatalk") + commands(text_of(name), "python -m personatalk_core")
    for verb, *words in (words for words in found if words[0] not in ("VERB", "--version")):
        for each in verb.split("|"):
            if each not in known:
                wrong.append(each)
            elif each == "study":
                study = words[0].replace("_", "-") if words else "NAME"
                wrong += [] if study in (*STUDIES, "NAME") else [f"study {study}"]
            else:
                options = {word for word in words if re.fullmatch(r"--[a-z0-9-]+", word)}
                wrong += [f"{each} {o}" for o in sorted(options - set(known[each]._option_string_actions))]
    assert wrong == []


def test_messages_in_the_readme_are_the_programs_own():
    sentences = [
        node.value
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    table = text_of("README.md").partition("| message | cure |")[2].partition("\n\n")[0]
    messages = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(messages) == 8
    assert [m for m in messages if not any(m in sentence for sentence in sentences)] == []


def test_every_workflow_is_shown():
    shown = re.findall(r"\(workflows/(\w+)\.jpg\)", text_of("README.md"))
    assert sorted(shown) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def test_every_node_is_named():
    table = text_of("README.md").partition("| group | nodes |")[2].partition("\n\n")[0]
    words = set(re.findall(r"\w+", table))
    titles = [
        re.search(r'display_name="([\w\- ]+) \(PersonaTalk\)"', path.read_text(encoding="utf-8"))
        for path in (ROOT / "nodes").glob("*.py")
    ]
    names = [title[1] for title in titles if title]
    assert len(names) == 18
    assert [n for n in names if set(re.findall(r"\w+", n)) - words - {"Style"}] == []


def test_the_two_commands_of_developers_are_there():
    assert {"demo", "test"} <= {words[0] for words in commands(text_of("README.md"), "make")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_no_private_place(name):
    assert not re.search(r"\.\./shared|/work/|/tmp/|/home/", text_of(name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_make_targets_exist(name):
    text = text_of(name)
    modules = re.findall(r"python -m (personatalk_core\.[\w.]+)", text)
    targets = [words[0] for words in commands(text, "make")]
    rules = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    lost = [m for m in modules if not (ROOT / (m.replace(".", "/") + ".py")).exists()]
    assert lost + sorted(set(targets) - rules) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_of_the_core_that_a_document_names_exist(name):
    rooms = "|".join(p.name for p in (ROOT / "personatalk_core").iterdir() if p.is_dir())
    named = re.findall(rf"`((?:(?:personatalk_core/)?(?:{rooms})|nodes|tests)/[\w/.]+\.py)", text_of(name))
    places = (ROOT, ROOT / "personatalk_core")
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_files_named_in_the_readme_of_the_tests_exist():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:tests|workflows)/[\w./-]*\w", text)) | set(
        re.findall(r"`(test_\w+\.py)`", text)
    )
    names = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert len(named) > 10
    assert [name for name in sorted(named) if name not in names and not (ROOT / name).exists()] == []
