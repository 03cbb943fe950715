"""PersonaTalk: dub a talking person's video with new speech and keep the persona (Zhang et al., SIGGRAPH Asia
2024).

    import personatalk_core as pt

    report = pt.dub("talking_person.mp4", "new_speech.wav", "dubbed.mp4", pt.load_models())

Names are imported when they are first used, so that ``import personatalk_core`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_HOME = {  # where each name lives; __init__.pyi says the same to type checkers
    "pipeline": ("dub", "track", "fit", "estimate_geometry", "extract_style", "animate", "render"),
    "dubbing.write_dub": ("write_dub",),
    "dubbing.run": ("Run", "OutputFiles"),
    "dubbing.progress": ("Progress", "ProgressBars"),
    "models": ("load_models", "Models"),
    "media.video_reader": ("probe",),
    "speech.style": ("mix_styles",),
    "speech.style_file": ("save_style", "load_style"),
    "geometry.geometry_file": ("save_geometry", "load_geometry"),
    "config": ("DubOptions",),
    "types": ("AudioClip", "DubReport", "FaceGeometry", "FaceTrack", "FrameStatus", "ReferenceSelection")
    + ("StyleEmbedding", "VideoInfo"),
    "errors": ("PersonaTalkError", "BatchError", "DependencyError", "FaceError", "FaceModelMismatchError")
    + ("MediaError", "MemoryLimitError", "OptionsError", "ShapeError", "WeightsError"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
