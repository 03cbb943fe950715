"""The manifest of a batch: one JSON object a line, one dub each.

README.md beside this file lists the fields. The optional ones are rows of the option table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from ..config import DubOptions, Option, option_fields
from ..errors import OptionsError

MAX_LINE = 1 << 20  # bytes of one line
MAX_JOBS = 1_000_000
PATHS = ("video", "audio", "style")  # read; relative to the manifest's folder
TARGETS = ("out", "mask_out")  # written; file names inside the output folder
SUFFIXES = (".mp4", ".mov", ".mkv")
REPORT_SUFFIX = ".report.json"


def manifest_options() -> dict[str, Option]:
    """Rows of the option table that a line may set: all but those that models are loaded with, since every
    worker loads its models once."""
    return {name: option for name, option in option_fields().items() if not option.loads_models}


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
                        f"{path} line {number} is longer than {MAX_LINE} bytes; put each job on a line of "
                        "its own."
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


def _check_source(value: str) -> str:
    if not value or not value.isprintable():
        raise PydanticCustomError("expected", "a path as text")
    return value


def _check_target(value: str) -> str:
    """Only plain paths below the output folder: neither absolute, nor with a drive, nor upwards."""
    parts = PurePosixPath(_check_source(value)).parts
    foreign = (
        "\\" in value or PureWindowsPath(value).drive or PurePosixPath(value).is_absolute() or ":" in value
    )
    if foreign or ".." in parts or not parts or any(part.startswith(".") for part in parts):
        raise PydanticCustomError("expected", "a file name inside the output folder, such as clips/one.mp4")
    if max(len(part.encode()) for part in parts) > 200 or len(value) > 1000:
        raise PydanticCustomError("refused", "is longer than file systems allow; shorten it.")
    if PurePosixPath(value).suffix.lower() not in SUFFIXES:
        raise PydanticCustomError("expected", f"a name that ends in {', '.join(SUFFIXES)}")
    return value


Source = Annotated[str, AfterValidator(_check_source)]
Target = Annotated[str, AfterValidator(_check_target)]


class ManifestLine(BaseModel):
    """One line as it is written, without the options; :data:`_LINE` has those, too."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    video: Source
    audio: Source
    style: Source | None = None
    out: Target
    mask_out: Target | None = None


_FIELDS: dict[str, Any] = {name: (option.kind, option.default) for name, option in manifest_options().items()}
_LINE = create_model("_LINE", __base__=ManifestLine, **_FIELDS)
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


def _parse(line: bytes, number: int, path: Path, base: DubOptions) -> Job:
    try:
        entry = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
        read = _LINE.model_validate(entry)
        options = read.model_dump(include=read.model_fields_set & set(_FIELDS))
        job = Job(number, **_places(read, path.absolute().parent), options=options)
        job.dub_options(base)
    except ValidationError as error:
        raise OptionsError(f"{path} line {number}: {_sentence(error)}") from error
    except OptionsError as error:
        raise OptionsError(f"{path} line {number}: {error}") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = error or "nested too deeply"
        raise OptionsError(f"{path} line {number}: is not a JSON object ({reason}).") from error
    return job


def _places(line: ManifestLine, folder: Path) -> dict[str, Any]:
    """The paths of a line: those that are read below ``folder``, those that are written as they are."""
    read = {"video": folder / line.video, "audio": folder / line.audio}
    written = {
        "out": str(PurePosixPath(line.out)),
        "mask_out": str(PurePosixPath(line.mask_out)) if line.mask_out else None,
    }
    return {**read, **written, "style": folder / line.style if line.style else None}


def _sentence(error: ValidationError) -> str:
    """What is wrong first: a field nobody knows, then one that is missing, then what a field holds."""
    rank = {"extra_forbidden": 0, "missing": 1}
    found = min(error.errors(), key=lambda details: rank.get(details["type"], 2))
    if found["type"] == "model_type":
        kind, example = type(found["input"]).__name__, '{"video": ..., "audio": ..., "out": ...}'
        return f"is a {kind} but expected a JSON object such as {example}."
    name = str(found["loc"][0] if found["loc"] else found["input"])  # half a surrogate pair has no place
    return f"field '{name}' {_complaint(name, found)}"


def _complaint(name: str, found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden" or not found["loc"]:
        hint = " say it on the command line;" if name in option_fields() else ""
        return f"is unknown;{hint} expected some of {', '.join((*PATHS, *TARGETS, *_FIELDS))}."
    if found["type"] == "missing":
        return "is missing."
    if found["type"] == "refused":
        return found["msg"]
    expected = _EXPECTED.get(found["type"], found["msg"])
    if name in (*PATHS, *TARGETS) and found["type"] == "string_type":
        expected = "a path as text"
    return f"is {_as_json(found['input'])} but expected {expected}."


def _as_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _no_repeats(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"field {json.dumps(next(n for n in names if names.count(n) > 1))} is there twice")
    return entry


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")
