"""Where ComfyUI keeps this pack's files: models/personatalk for weights, its folders styles and initializers
for those."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import folder_paths

from ..personatalk_core.config import LANDMARKS
from ..personatalk_core.errors import OptionsError

WEIGHTS, STYLES = "personatalk", "personatalk_styles"
BUNDLED, ROOT = "bundled", "models/personatalk"
INITIALIZERS = "initializers"
LONGEST_NAME = 120  # bytes of a style's name: file systems take 255, and a temporary file is named after it
# devices on Windows
RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"),
}


def register_folders() -> None:
    """Tell ComfyUI about the folders; paths of extra_model_paths.yaml stay in the list."""
    root = Path(folder_paths.models_dir) / "personatalk"
    folder_paths.add_model_folder_path(WEIGHTS, str(root), is_default=True)
    folder_paths.add_model_folder_path(STYLES, str(root / "styles"), is_default=True)
    for name in (WEIGHTS, STYLES):
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | {".safetensors"})


def weight_choices() -> list[str]:
    """What the weights widget offers: the folder itself, its subfolders, the shipped files."""
    others = ("styles", INITIALIZERS)
    found = {
        f"{ROOT}/{sub.name}"
        for root in _roots()
        for sub in root.glob("*")
        if sub.is_dir() and sub.name not in others
    }
    return [ROOT, *sorted(found), BUNDLED]


def weights_folder(choice: str) -> Path | None:
    """The folder of a choice, or None where the shipped files are meant or the folder does not exist yet.

    Raises OptionsError for anything that is not offered: a workflow made by somebody else must not point
    outside these folders.
    """
    if choice not in weight_choices():
        raise OptionsError(f"weights is '{choice}' but expected one of {', '.join(weight_choices())}.")
    if choice == BUNDLED:
        return None
    inside = choice.removeprefix(ROOT).lstrip("/")
    return next((root / inside for root in _roots() if (root / inside).is_dir()), None)


def folder_state(choice: str) -> str:
    """Changes when a weight file of the folder does, so that the cached networks are loaded again."""
    folder = weights_folder(choice) if choice in weight_choices() else None
    files = sorted(folder.glob("*.*")) if folder else []
    return "|".join(
        f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files if file.is_file()
    )


def initializer_choices() -> list[str]:
    """What the initializer widget offers: the landmarks, and the converted coefficient networks a user put
    there."""
    return [LANDMARKS, *sorted(_initializers())]


def initializer_of(choice: str) -> str:
    """``landmarks``, or the path of the file of a choice. Raises OptionsError for anything that is not
    offered."""
    if choice == LANDMARKS:
        return LANDMARKS
    found = _initializers()
    if choice not in found:
        raise OptionsError(
            f"initializer is '{choice}' but expected one of {', '.join(initializer_choices())}."
        )
    return str(found[choice])


def initializer_state(choice: str) -> str:
    """Changes when the file of the choice does."""
    file = _initializers().get(choice)
    return f"{file.stat().st_size}:{file.stat().st_mtime_ns}" if file else ""


def style_choices() -> list[str]:
    """Style files by name."""
    return sorted(folder_paths.get_filename_list(STYLES))


def style_path(name: str) -> Path | None:
    """The path of a style file, or None where there is none of that name among those that are offered."""
    found = folder_paths.get_full_path(STYLES, name) if name in style_choices() else None
    return Path(found) if found else None


def new_style_path(name: str) -> Path:
    """Where a style of that name is saved: the first styles folder.

    Raises OptionsError for what is no plain file name on Windows, macOS and Linux alike, or would be the same
    file there.
    """
    name = unicodedata.normalize("NFC", name)
    if not re.fullmatch(r"\w(?:[\w .-]*[\w-])?", name):
        raise OptionsError(
            f"file_name is '{name}' but expected letters, digits, spaces, dots, dashes and underscores, "
            "without a folder."
        )
    if len(name.encode()) > LONGEST_NAME:
        raise OptionsError(
            f"file_name takes {len(name.encode())} bytes but expected at most {LONGEST_NAME}; use a "
            "shorter one."
        )
    if name.partition(".")[0].strip().upper() in RESERVED:
        raise OptionsError(f"file_name is '{name}', which Windows keeps for a device; use another.")
    path = Path(folder_paths.get_folder_paths(STYLES)[0]) / f"{name}.safetensors"
    for other in path.parent.glob("*.safetensors"):
        if other.name != path.name and _same_file_name(other.name) == _same_file_name(path.name):
            raise OptionsError(
                f"file_name is '{name}' but '{other.stem}' exists, which is the same file on Windows and "
                "macOS; use that name or another."
            )
    return path


def _same_file_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _initializers() -> dict[str, Path]:
    """Files by name; where two folders have one of a name, the first."""
    return {
        file.name: file
        for root in reversed(_roots())
        for file in (root / INITIALIZERS).glob("*.safetensors")
        if file.is_file()
    }


def _roots() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(WEIGHTS)]
