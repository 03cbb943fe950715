"""What the answers of a viewing test say, with 95 % confidence intervals (paper 4.3, Table 3)."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ...errors import MediaError, OptionsError
from .make import QUESTIONS

COLUMNS = ("rater", "trial", "question", "item_a", "item_b", "answer")
RESAMPLES = 2000


@dataclass(frozen=True)
class Answer:
    """One row: who, on which question, about which clip, of which systems (second empty for MOS), and the
    answer."""

    rater: str
    question: str
    clip: str
    first: str
    second: str
    answer: str


def read_answers(key: Path, files: Sequence[Path]) -> tuple[str, list[Answer]]:
    """Read the raters' CSV files and put the names back.

    Returns:
        The study's kind, and the answers. A rater's second answer to the same trial and question replaces the
        first.
    Raises:
        MediaError: a file is missing or has other columns, or names a video that the key does not know.
    """
    try:
        study = json.loads(Path(key).read_text(encoding="utf-8"))
        items, kind = study["items"], study["kind"]
    except (OSError, ValueError, KeyError) as error:
        raise MediaError(
            f"{key} is not a study key ({type(error).__name__}); pass the study_key.json written with the "
            "page."
        ) from error
    found: dict[tuple, Answer] = {}
    for path in files:
        try:
            with Path(path).open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(
                f"{path} cannot be read ({error}); pass the CSV files that the raters saved."
            ) from error
        for number, row in enumerate(rows, start=2):
            if any(row.get(column) is None for column in COLUMNS):
                raise MediaError(
                    f"{path} line {number} lacks one of the columns {', '.join(COLUMNS)}; pass the file as "
                    "it was saved."
                )
            if row["item_a"] not in items or (row["item_b"] and row["item_b"] not in items):
                raise MediaError(
                    f"{path} line {number} names a video that is not in {key}; the answers belong to "
                    "another study."
                )
            if row["answer"] not in (("A", "B", "same") if kind == "ab" else ("1", "2", "3", "4", "5")):
                raise MediaError(
                    f"{path} line {number} has the answer '{row['answer']}', which a study of kind "
                    f"'{kind}' does not give."
                )
            first, second = items[row["item_a"]], items.get(row["item_b"], {"system": ""})
            found[row["rater"], row["trial"], row["question"]] = Answer(
                row["rater"], row["question"], first["clip"], first["system"], second["system"], row["answer"]
            )
    return kind, list(found.values())


def analyse_user_study(key: Path, files: Sequence[Path], seed: int = 0) -> dict:
    """Mean opinion scores, or preferences, of every system on every question.

    Returns:
        {"kind", "raters", "answers", "questions": {question: ...}}; for ``mos`` {system: {"mean", "low",
        "high", "answers"}}, for ``ab`` {"X vs Y": {"share" of X among decided answers, "low", "high", "p",
        "wins", "losses", "same"}}.
    Raises:
        MediaError: see :func:`read_answers`.  OptionsError: there is no answer.
    """
    kind, answers = read_answers(key, files)
    if not answers:
        raise OptionsError("the files hold no answers; pass the CSV files that the raters saved.")
    questions = {}
    for question in [q for q in QUESTIONS if any(a.question == q for a in answers)]:
        own = [a for a in answers if a.question == question]
        questions[question] = _opinion(own, seed) if kind == "mos" else _preference(own)
    return {
        "kind": kind,
        "raters": len({a.rater for a in answers}),
        "answers": len(answers),
        "questions": questions,
    }


def format_user_study(result: dict) -> str:
    """The analysis as a Markdown table."""
    names = list(result["questions"])
    entries = list(dict.fromkeys(name for table in result["questions"].values() for name in table))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for entry in entries:
        cells = []
        for table in result["questions"].values():
            row = table.get(entry)
            if row is None:
                cells.append("")
            elif result["kind"] == "mos":
                cells.append(f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
            else:
                cells.append(f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}], p = {row['p']:.3g}")
        lines.append(f"| {entry} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{result['raters']} raters, {result['answers']} answers; 95 % intervals."])


def _opinion(answers: list[Answer], seed: int) -> dict:
    """Mean score a system; the interval resamples raters and clips together, because both are samples."""
    generator = np.random.default_rng(seed)
    table = {}
    for system in sorted({a.first for a in answers}):
        own = [a for a in answers if a.first == system]
        raters, clips = sorted({a.rater for a in own}), sorted({a.clip for a in own})
        scores = np.full((len(raters), len(clips)), np.nan)
        for a in own:
            scores[raters.index(a.rater), clips.index(a.clip)] = float(a.answer)
        means = []
        for _ in range(RESAMPLES):
            drawn = scores[generator.integers(len(raters), size=len(raters))][
                :, generator.integers(len(clips), size=len(clips))
            ]
            if np.isfinite(drawn).any():
                means.append(np.nanmean(drawn))
        low, high = np.quantile(means, [0.025, 0.975])
        table[system] = {
            "mean": float(np.nanmean(scores)),
            "low": float(low),
            "high": float(high),
            "answers": len(own),
        }
    return table


def _preference(answers: list[Answer]) -> dict:
    """Share of decided answers for the first of each pair, Wilson's interval, exact two-sided test against a
    half."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for a in answers:
        winner = {"A": a.first, "B": a.second}.get(a.answer)
        pair = (min(a.first, a.second), max(a.first, a.second))
        counts[pair][2 if winner is None else pair.index(winner)] += 1
    table = {}
    for pair in combinations(sorted({name for names in counts for name in names}), 2):
        wins, losses, same = counts.get(pair, (0, 0, 0))
        if wins + losses == 0:
            interval, share, p = (0.0, 1.0), 0.5, 1.0
        else:
            test = binomtest(wins, wins + losses)
            bounds = test.proportion_ci(method="wilson")
            interval, share, p = (bounds.low, bounds.high), wins / (wins + losses), test.pvalue
        if wins + losses + same:
            shares = {"share": share, "low": float(interval[0]), "high": float(interval[1]), "p": float(p)}
            table[f"{pair[0]} vs {pair[1]}"] = shares | {"wins": wins, "losses": losses, "same": same}
    return table
