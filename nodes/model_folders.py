"""Where ComfyUI keeps this pack's files: models/personatalk for weights, models/personatalk/styles for styles."""

from __future__ import annotations

from pathlib import Path

import folder_paths

WEIGHTS, STYLES = "personatalk", "personatalk_styles"
BUNDLED, ROOT = "bundled", "models/personatalk"


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
    found = {f"{ROOT}/{sub.name}" for root in _roots() for sub in root.glob("*") if sub.is_dir() and sub.name != "styles"}
    return [ROOT, *sorted(found), BUNDLED]


def weights_folder(choice: str) -> Path | None:
    """The folder of a choice, or None where the shipped files are meant or the folder does not exist yet."""
    if choice == BUNDLED:
        return None
    inside = choice.removeprefix(ROOT).lstrip("/")
    return next((root / inside for root in _roots() if (root / inside).is_dir()), None)


def folder_state(choice: str) -> str:
    """Changes when a weight file of the folder does, so that the cached networks are loaded again."""
    folder = weights_folder(choice)
    files = sorted(folder.glob("*.*")) if folder else []
    return "|".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files if file.is_file())


def style_choices() -> list[str]:
    """Style files by name."""
    return sorted(folder_paths.get_filename_list(STYLES))


def style_path(name: str) -> Path | None:
    """The path of a style file, or None where there is none of that name."""
    found = folder_paths.get_full_path(STYLES, name)
    return Path(found) if found else None


def new_style_path(name: str) -> Path:
    """Where a style of that name is saved: the first styles folder. The name must be a plain file name."""
    return Path(folder_paths.get_folder_paths(STYLES)[0]) / f"{name}.safetensors"


def _roots() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(WEIGHTS)]
