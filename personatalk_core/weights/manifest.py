"""Which weights there are and where: manifest.json, and the Hub commit that may hold one.

A manifest lists the weights of a folder or a Hub repository, how large each is and its sha256. It travels
beside the files it lists: in the bundled folder, in a user's folder, at a Hub revision. Maintenance:
``python -m personatalk_core.weights.manifest`` rewrites the bundled one from the files.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OptionsError, WeightsError
from .checkpoint import sha256_of, write_atomically

BUNDLED_FOLDER = Path(__file__).resolve().parent
MANIFEST_FILE = "manifest.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
MANIFEST_VERSION = 1
TASK_KIND = "mediapipe_task"  # every other kind is a safetensors checkpoint of that kind

WEIGHT_KINDS: dict[str, str] = {
    "face_model": "face_model",
    "audio_encoder": "audio_encoder",
    "lip_sync": "lip_sync",
    "renderer": "renderer",
    "style_metric": "style_metric",  # StyleSim's encoder; only the evaluation uses it
    "sync_judge": "sync_judge",  # hears the opening for the evaluation's sync score
    # ridge regression on Moonshine features: baseline and judge of lags, for the evaluation
    "speech_ridge": "speech_ridge",
    "face_landmarker": TASK_KIND,
}
"""Every name of weights that this release can use, and the kind its checkpoint states."""

SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class WeightFile:
    """One entry: name (of WEIGHT_KINDS), file (plain name, no folder), sha256 (64 hex digits), bytes,
    kind."""

    name: str
    file: str
    sha256: str
    bytes: int
    kind: str


class HubUnreachableError(WeightsError):
    """The Hub did not answer, or may not be asked, and the file is not in the local cache."""


@dataclass(frozen=True)
class HubSource:
    """One commit of one model repository.

    repo_id: OWNER/NAME.  revision: full commit hash, 40 hex digits, so that the content can never change.
    token: access token, None for the user's login, False for none.  cache_dir: None for the client's own.
    """

    repo_id: str
    revision: str
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        check_repository(self.repo_id)
        if not COMMIT.fullmatch(self.revision):
            raise OptionsError(
                f"Hub revision is '{self.revision}' but expected a full commit hash, 40 hex digits; a "
                "branch can change."
            )

    @staticmethod
    def parse(text: str) -> HubSource:
        """Parse ``OWNER/NAME@COMMIT``. Raises OptionsError."""
        repo_id, _, revision = text.partition("@")
        return HubSource(repo_id, revision)

    def __str__(self) -> str:
        return f"{self.repo_id} at {self.revision[:10]}"


def check_repository(repo_id: str) -> None:
    """Refuse anything but OWNER/NAME. Raises OptionsError."""
    if not REPOSITORY.fullmatch(repo_id):
        raise OptionsError(
            f"Hub repository is '{repo_id}' but expected OWNER/NAME, such as someone/personatalk-weights."
        )


def default_file(name: str) -> str:
    """The file name of some weights where no manifest says otherwise. Raises OptionsError for a name nobody
    knows."""
    if name not in WEIGHT_KINDS:
        raise OptionsError(f"weights are named '{name}' but expected one of {', '.join(WEIGHT_KINDS)}.")
    return f"{name}.task" if WEIGHT_KINDS[name] == TASK_KIND else f"{name}.safetensors"


def parse_manifest(text: str, source: str) -> dict[str, WeightFile]:
    """Read a manifest's JSON and refuse anything but plain safetensors and task files with a full sha256.

    Args:
        text:   content of a manifest.json.
        source: where it came from, named in errors.
    Returns:
        Name to entry; names that this release does not know are left out.
    Raises:
        WeightsError: not JSON, a newer version, or an entry with a missing or impossible value.
    """
    try:
        data = json.loads(text)
        version, rows = data["version"], data["files"]
        if version > MANIFEST_VERSION:
            raise WeightsError(
                f"{source} has version {version} but this release reads up to {MANIFEST_VERSION}; update "
                "PersonaTalk."
            )
        entries = [
            WeightFile(row["name"], row["file"], row["sha256"], row["bytes"], row["kind"]) for row in rows
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{source} is not a weights manifest ({reason}); write it again from its files."
        ) from error
    for entry in entries:
        _refuse_impossible(entry, source)
    known = [entry for entry in entries if entry.name in WEIGHT_KINDS]
    if len({entry.name for entry in known}) != len(known):
        raise WeightsError(f"{source} lists the same name twice; expected one file for each name.")
    return {entry.name: entry for entry in known}


def _refuse_impossible(entry: WeightFile, source: str) -> None:
    texts = (entry.name, entry.file, entry.sha256, entry.kind)
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(entry.bytes, int)
        or entry.bytes <= 0
    ):
        raise WeightsError(
            f"{source} has an entry with a value of the wrong type: {entry}; expected texts and a positive "
            "number of bytes."
        )
    if not SHA256.fullmatch(entry.sha256):
        raise WeightsError(
            f"{source} gives '{entry.name}' the sha256 '{entry.sha256}' but expected 64 hex digits."
        )
    suffix = ".task" if entry.kind == TASK_KIND else ".safetensors"
    if not PLAIN_FILE.fullmatch(entry.file) or not entry.file.endswith(suffix):
        raise WeightsError(
            f"{source} gives '{entry.name}' the file '{entry.file}' but expected a plain name that ends in "
            f"{suffix}."
        )
    if WEIGHT_KINDS.get(entry.name, entry.kind) != entry.kind:
        raise WeightsError(
            f"{source} gives '{entry.name}' the kind '{entry.kind}' but expected "
            f"'{WEIGHT_KINDS[entry.name]}'."
        )


def read_manifest(folder: Path) -> dict[str, WeightFile]:
    """The manifest of a folder, empty where there is none. Raises WeightsError when it cannot be read."""
    path = Path(folder) / MANIFEST_FILE
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); restore it or remove it.") from error
    return parse_manifest(text, str(path))


def make_manifest(folder: Path) -> dict[str, WeightFile]:
    """Measure every file of a folder that has the default name of some weights, in the order of
    WEIGHT_KINDS."""
    entries = {}
    for name, kind in WEIGHT_KINDS.items():
        path = Path(folder) / default_file(name)
        if path.is_file():
            entries[name] = WeightFile(name, path.name, sha256_of(path), path.stat().st_size, kind)
    return entries


def format_manifest(entries: dict[str, WeightFile]) -> str:
    """The JSON text of a manifest; the same entries give the same text."""
    files = [vars(entry) for entry in entries.values()]
    return json.dumps({"version": MANIFEST_VERSION, "files": files}, indent=2) + "\n"


def write_manifest(folder: Path) -> dict[str, WeightFile]:
    """Write the manifest of the files that are in a folder, and return its entries."""
    entries = make_manifest(folder)
    write_atomically(Path(folder) / MANIFEST_FILE, format_manifest(entries).encode())
    return entries


def main() -> None:
    """Rewrite the bundled manifest and list what it holds."""
    for entry in write_manifest(BUNDLED_FOLDER).values():
        sys.stdout.write(f"{entry.name:16} {entry.bytes:>10} {entry.sha256}\n")


if __name__ == "__main__":
    main()
