"""What the registry and an installation beside ComfyUI rest on."""

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOST_OWNS = {"torch", "torchvision", "torchaudio", "comfyui", "pillow", "aiohttp"}
# ComfyUI 0.33.0's requirements.txt, where both name a package: the versions it may have installed
HOST_REQUIRES = {
    "numpy": ["1.26.4", "2.4.6"],
    "einops": ["0.8.1"],
    "transformers": ["4.57.0", "5.23.0"],
    "safetensors": ["0.5.0", "0.8.0"],
    "scipy": ["1.13.0", "1.18.0"],
    "tqdm": ["4.67.0"],
    "av": ["17.0.0", "18.1.0"],
}


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower()


def test_requirements_are_the_dependencies():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line.partition("#")[0].strip() for line in lines]
    assert sorted(filter(None, listed)) == sorted(PROJECT["project"]["dependencies"])
    assert all("#" in line for line in lines if line.strip()), "one reason a line"


def test_no_package_is_listed_whose_build_the_host_chose():
    assert {name_of(r) for r in PROJECT["project"]["dependencies"]} & HOST_OWNS == set()


def test_the_hosts_own_versions_satisfy_every_shared_requirement():
    specifiers = pytest.importorskip("packaging.requirements")
    shared = [
        specifiers.Requirement(r) for r in PROJECT["project"]["dependencies"] if name_of(r) in HOST_REQUIRES
    ]
    assert len(shared) == len(HOST_REQUIRES)
    moved = [
        f"{r} would replace {version}"
        for r in shared
        for version in HOST_REQUIRES[r.name.lower()]
        if version not in r.specifier
    ]
    assert moved == []


def test_registry_fields():
    comfy = PROJECT["tool"]["comfy"]
    assert comfy["PublisherId"] and comfy["DisplayName"] == "PersonaTalk"
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    repository = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    for field in ("Icon", "Banner"):
        start = f"https://raw.githubusercontent.com/{repository}/main/"
        assert comfy[field].startswith(start) and (ROOT / comfy[field].removeprefix(start)).is_file(), field
    assert "web" not in comfy, "WEB_DIRECTORY says it already"


def test_icon_is_square_and_banner_wide():
    """The registry shows icons up to 400 x 400 and banners at 21:9."""
    icon = (ROOT / "web" / "docs" / "images" / "icon.svg").read_text(encoding="utf-8")
    assert (
        'width="400" height="400"' in icon
        and "<script" not in icon
        and "http" not in icon.replace("http://www.w3.org/2000/svg", "")
    )
    banner = (ROOT / "web" / "docs" / "images" / "banner.png").read_bytes()
    assert banner[:4] == b"\x89PNG"
    width, height = (int.from_bytes(banner[at : at + 4], "big") for at in (16, 20))
    assert width * 9 == height * 21


def test_file_names_work_on_windows():
    bad = [
        str(path.relative_to(ROOT))
        for folder in ("nodes", "web", "workflows", "locales", "personatalk_core")
        for path in (ROOT / folder).rglob("*")
        if re.search(r'[<>:"|?*]|[. ]$', path.name) or len(str(path.relative_to(ROOT))) > 120
    ]
    assert bad == []
    names = [str(path.relative_to(ROOT)).lower() for path in (ROOT / "web").rglob("*")]
    assert len(names) == len(set(names)), "two names that differ in case only"
