"""The studies of ``personatalk study NAME``: questions that are asked of the networks, not of one video.

A study is a module with ``add_arguments(parser)`` and ``run(args, progress)``, which returns the text to
print, or a :class:`Verdict` where the study is a check that can fail. It is imported only when it is named.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass

STUDIES: dict[str, tuple[str, str]] = {  # name: (module below personatalk_core, what is asked)
    "closure-accuracy": (
        "evaluation.studies.closure_accuracy",
        "do generated lips close at /p/, /b/ and /m/, and rest in silence?",
    ),
    "dub-cost": ("evaluation.speed.dub_cost", "time and memory of a second of video, by picture size"),
    "encoder-average": (
        "training.speech.encoder_average",
        "two fine-tunings of one pretrained encoder averaged into one",
    ),
    "geometry-fit": ("evaluation.studies.geometry_fit", "how near the fitting is, and how still"),
    "geometry-fit-choice": (
        "evaluation.studies.geometry_fit_choice",
        "choose the weights of the fitting on training clips",
    ),
    "identity-separation": (
        "evaluation.studies.identity_separation",
        "do identity coefficients say who it is?",
    ),
    "long-clip": ("evaluation.speed.long_clip", "memory and time a frame of a long dub beside a short one"),
    "quality": ("evaluation.benchmark.check", "a quick quality protocol against stored numbers"),
    "reconstruction-table": (
        "evaluation.studies.reconstruction_table",
        "the renderer alone, on clips whose geometry is known",
    ),
    "renderer-ablations": ("training.renderer.ablations", "what each loss of the renderer is worth"),
    "speech-ablations": ("training.speech.ablations", "what each part of the speech stage is worth"),
    "speech-accuracy": (
        "evaluation.studies.speech_accuracy",
        "does the predicted mouth follow the true one?",
    ),
    "speech-refinement": (
        "training.speech.refinement",
        "the last stages of train speech on networks that exist",
    ),
    "speech-ridge": (
        "training.speech.linear_judges",
        "fit the ridge regression that the speech stage is measured against",
    ),
    "spoken-meshes": ("evaluation.studies.spoken_meshes", "true and predicted mesh side by side, with sound"),
    "style-accuracy": (
        "evaluation.studies.style_accuracy",
        "do styles separate speakers, and steer motion?",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """What a check found: the text to print, and whether the check passed (else the exit code is 1)."""

    text: str
    passed: bool


def forward(name: str) -> None:
    """Run ``personatalk study NAME`` with this process's arguments: what the old ``python -m`` names do for
    one release."""
    sys.stderr.write(f"This name goes with the next release; run 'personatalk study {name}' instead.\n")
    sys.argv[1:] = ["study", name, *sys.argv[1:]]
    runpy.run_module("personatalk_core", run_name="__main__")
