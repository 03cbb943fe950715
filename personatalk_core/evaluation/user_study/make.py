"""A blind viewing test as one HTML page that needs no network: MOS or A/B on the paper's three questions
(paper 4.3, Table 3).

The page holds the videos themselves and knows them by random numbers only; which number is whose stands in a
key file that stays with whoever runs the study. Answers leave the page as CSV.
"""

from __future__ import annotations

import base64
import html
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from string import Template

from ...errors import MediaError, OptionsError
from ...weights.checkpoint import write_atomically

PAGE = Path(__file__).with_name("page.html")  # $title and $data are filled in
KINDS = ("mos", "ab")
QUESTIONS: dict[str, dict[str, str]] = {
    "visual": {
        "mos": "How good is the picture? (1 bad: blurred, seams, flicker ... 5 excellent)",
        "ab": "Which picture is better (sharper, no seams, no flicker)?",
    },
    "lip_sync": {
        "mos": "How well do the lips fit the words that are heard? (1 not at all ... 5 perfectly)",
        "ab": "In which do the lips fit the words better?",
    },
    "persona": {
        "mos": (
            "How much is this the same person, speaking in their own manner? (1 not at all ... 5 completely)"
        ),
        "ab": "Which is more the same person, speaking in their own manner?",
    },
}
TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/mp4"}
MOST_MIB = 400  # a page larger than this does not open well


@dataclass(frozen=True)
class Study:
    """page and key: files written.  trials: how many things a rater is shown."""

    page: Path
    key: Path
    trials: int


def make_user_study(
    systems: Mapping[str, Path],
    out: Path,
    *,
    kind: str = "mos",
    reference: Path | None = None,
    title: str = "Viewing test",
    seed: int = 0,
) -> Study:
    """Write ``study.html`` for the raters and ``study_key.json`` for whoever evaluates it.

    Args:
        systems:   name to folder of videos; only clips that every system has (by file name without ending)
            are shown.
        out:       folder for both files.
        kind:      ``mos``: each video rated from 1 to 5; ``ab``: two videos of one clip, which is better or
            the same.
        reference: folder of the original videos, shown beside for the question about the person; None: not
            shown.
        seed:      of the numbers that hide who made what. Order and sides are drawn anew for every rater, in
            the page.
    Returns:
        Study.
    Raises:
        OptionsError: an unknown kind, or fewer than two systems for ``ab``.  MediaError: no common clip, or
            too much video.
    """
    if kind not in KINDS:
        raise OptionsError(f"the kind of study is '{kind}' but expected one of {', '.join(KINDS)}.")
    if len(systems) < (2 if kind == "ab" else 1):
        raise OptionsError(
            f"a study of kind '{kind}' got {len(systems)} systems; pass at least {2 if kind == 'ab' else 1}."
        )
    files = {name: _videos(Path(folder)) for name, folder in systems.items()}
    clips = sorted(set.intersection(*(set(found) for found in files.values())))
    if not clips:
        raise MediaError(
            f"the folders of {', '.join(systems)} have no clip of the same name; name the outputs after "
            "their sources."
        )
    originals = _videos(Path(reference)) if reference is not None else {}
    numbers = random.Random(seed)
    key, media = {}, {}
    for clip in clips:
        for name in systems:
            item = _fresh(numbers, key)
            key[item] = {"system": name, "clip": clip}
            media[item] = files[name][clip]
    references = {clip: _fresh(numbers, key | {k: {} for k in media}) for clip in clips if clip in originals}
    media |= {references[clip]: originals[clip] for clip in references}
    trials = _trials(kind, key, clips, references)
    size = sum(path.stat().st_size for path in media.values()) * 4 / 3 / (1 << 20)
    if size > MOST_MIB:
        raise MediaError(
            f"the videos would make a page of {size:.0f} MiB but at most {MOST_MIB} open well; use fewer "
            "or shorter clips."
        )
    data = {
        "kind": kind,
        "questions": {name: texts[kind] for name, texts in QUESTIONS.items()},
        "trials": trials,
        "media": {item: _data_address(path) for item, path in media.items()},
    }
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), data=json.dumps(data).replace("</", "<\\/")
    )
    study = Study(Path(out) / "study.html", Path(out) / "study_key.json", len(trials))
    write_atomically(study.page, page.encode())
    write_atomically(study.key, (json.dumps({"kind": kind, "items": key}, indent=1) + "\n").encode())
    return study


def _trials(
    kind: str, key: Mapping[str, Mapping[str, str]], clips: list[str], references: Mapping[str, str]
) -> list[dict]:
    """One a video for MOS, one a pair of systems and clip for A/B; in random order only once the page is
    open."""
    trials = []
    for clip in clips:
        items = [item for item, entry in key.items() if entry["clip"] == clip]
        groups = (
            [[item] for item in items] if kind == "mos" else [list(pair) for pair in combinations(items, 2)]
        )
        trials += [{"items": group, "reference": references.get(clip, "")} for group in groups]
    return trials


def _data_address(path: Path) -> str:
    return f"data:{TYPES[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder; pass folders of videos, one a system.")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in TYPES}


def _fresh(numbers: random.Random, taken: Mapping[str, object]) -> str:
    while True:
        item = f"{numbers.getrandbits(40):010x}"
        if item not in taken:
            return item
