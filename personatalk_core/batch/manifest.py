"""The manifest of a batch: one JSON object a line, one dub each. README.md beside this file lists the
fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..config import DubOptions
from ..errors import OptionsError

MAX_LINE = 1 << 20  # bytes of one line
MAX_JOBS = 1_000_000
PATHS = ("video", "audio", "style")  # read; relative to the manifest's folder
TARGETS = ("out", "mask_out")  # written; file names inside the output folder
WHOLE_BATCH = (
    "device",
    "dtype",
    "initializer",
)  # said once, on the command line: every worker loads its models once
_CHOICES = "length face style_strength lip_references face_references exclude_window seed lossless provenance"
KNOBS = {name: type(getattr(DubOptions(), name)) for name in _CHOICES.split()}
SUFFIXES = (".mp4", ".mov", ".mkv")
REPORT_SUFFIX = ".report.json"


@dataclass(frozen=True)
class Job:
    """One dub. line: from 1.  out, mask_out: paths inside the output folder, relative to it.  options: as the
    manifest gave them."""

    line: int
    video: Path
    audio: Path
    out: str
    style: Path | None = None
    mask_out: str | None = None
    options: dict[str, object] = field(default_factory=dict)

    @property
    def report(self) -> str:
        """Where the job's report goes, relative to the output folder."""
        return str(PurePosixPath(self.out).with_suffix("")) + REPORT_SUFFIX

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that the result depends on."""
        return tuple(path for path in (self.video, self.audio, self.style) if path is not None)

    def dub_options(self, base: DubOptions) -> DubOptions:
        """``base`` with this job's own choices. Raises OptionsError."""
        return replace(base, **self.options).verify()


def read_manifest(path: Path, base: DubOptions | None = None) -> list[Job]:
    """Read and check every line before any work begins; blank lines are skipped.

    Args:
        path: JSON Lines, UTF-8.
        base: options of the whole batch, to verify each job's own against; None takes the defaults.
    Returns:
        At least one job, in the order of the file.
    Raises:
        OptionsError: the file cannot be read, or a line or a field of it is wrong; the sentence names both.
    """
    path = Path(path)
    jobs: list[Job] = []
    taken: dict[str, int] = {}
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), start=1):
                if len(line) > MAX_LINE:
                    raise OptionsError(
                        f"{path} line {number} is longer than {MAX_LINE} bytes; put each job on a line "
                        "of its own."
                    )
                if not line.strip():
                    continue
                job = _parse(line, number, path, base or DubOptions())
                for name in filter(None, (job.out, job.mask_out, job.report)):
                    first = taken.get(name.casefold())
                    if first is not None:
                        what = (
                            f"'{name}' is written by line {first} already; give every file a name of its own."
                        )
                        raise OptionsError(f"{path} line {number}: {what}")
                    taken[name.casefold()] = number
                jobs.append(job)
                if len(jobs) > MAX_JOBS:
                    raise OptionsError(f"{path} holds more than {MAX_JOBS} jobs; split it.")
    except OSError as error:
        raise OptionsError(
            f"The manifest {path} cannot be read ({error.strerror}); pass a JSON Lines file with --manifest."
        ) from error
    if not jobs:
        raise OptionsError(
            f"The manifest {path} holds no job; write one JSON object a line with at least video, audio "
            "and out."
        )
    return jobs


def _parse(line: bytes, number: int, path: Path, base: DubOptions) -> Job:
    def wrong(what: str) -> OptionsError:
        return OptionsError(f"{path} line {number}: {what}")

    try:
        entry = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise wrong(f"is not a JSON object ({error or 'nested too deeply'}).") from error
    if not isinstance(entry, dict):
        raise wrong(
            f'is a {type(entry).__name__} but expected a JSON object such as {{"video": ..., "audio": '
            '..., "out": ...}.'
        )
    known = (*PATHS, *TARGETS, *KNOBS)
    for name in entry:
        if name not in known:
            hint = " say it on the command line;" if name in WHOLE_BATCH else ""
            raise wrong(f"field '{name}' is unknown;{hint} expected some of {', '.join(known)}.")
    for name in ("video", "audio", "out"):
        if name not in entry:
            raise wrong(f"field '{name}' is missing.")
    for name in (*PATHS, *TARGETS):
        value = entry.get(name)
        if value is None and name in ("style", "mask_out"):
            continue
        if not isinstance(value, str) or not value or "\0" in value or not value.isprintable():
            raise wrong(f"field '{name}' is {_shown(value)} but expected a path as text.")
        if name in TARGETS:
            _check_target(name, value, wrong)
    options = {}
    for name, kind in KNOBS.items():
        if name in entry:
            options[name] = _knob(name, entry[name], kind, wrong)
    places = {name: path.absolute().parent / entry[name] if entry.get(name) else None for name in PATHS}
    targets = {name: str(PurePosixPath(entry[name])) if entry.get(name) else None for name in TARGETS}
    job = Job(number, **places, **targets, options=options)
    try:
        job.dub_options(base)
    except OptionsError as error:
        raise wrong(str(error)) from error
    return job


def _knob(name: str, value: object, kind: type, wrong):
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return float(value)
    if type(value) is not kind:
        wanted = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise wrong(f"field '{name}' is {_shown(value)} but expected {wanted}.")
    return value


def _check_target(name: str, value: str, wrong) -> None:
    """Only plain paths below the output folder: neither absolute, nor with a drive, nor upwards."""
    parts = PurePosixPath(value).parts
    foreign = (
        "\\" in value or PureWindowsPath(value).drive or PurePosixPath(value).is_absolute() or ":" in value
    )
    if foreign or ".." in parts or not parts or any(part.startswith(".") for part in parts):
        raise wrong(
            f"field '{name}' is {_shown(value)} but expected a file name inside the output folder, such "
            "as clips/one.mp4."
        )
    if max(len(part.encode()) for part in parts) > 200 or len(value) > 1000:
        raise wrong(f"field '{name}' is longer than file systems allow; shorten it.")
    if PurePosixPath(value).suffix.lower() not in SUFFIXES:
        raise wrong(
            f"field '{name}' is {_shown(value)} but expected a name that ends in {', '.join(SUFFIXES)}."
        )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _no_repeats(pairs: list[tuple[str, object]]) -> dict:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"field {json.dumps(next(n for n in names if names.count(n) > 1))} is there twice")
    return entry


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")
