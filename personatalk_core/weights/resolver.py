"""Where weights come from: a local folder, then a pinned commit on the Hub, then the files shipped with the
code.

A file is only ever handed out after its sha256 was compared with a manifest, except in a user's own folder
without a manifest, where the checkpoint's kind and shapes are checked when it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import WeightsError
from ..types import OnProgress
from .checkpoint import sha256_of
from .manifest import (
    BUNDLED_FOLDER,
    MANIFEST_FILE,
    HubSource,
    HubUnreachableError,
    WeightFile,
    default_file,
    parse_manifest,
    read_manifest,
)

LARGEST_MANIFEST = 1 << 20  # bytes

Origin = Literal["folder", "hub", "bundled"]


@dataclass(frozen=True)
class ResolvedWeights:
    """A file that is there and complete. path: on this machine.  sha256: of the file.  note: for people, may
    be empty."""

    path: Path
    origin: Origin
    sha256: str
    note: str = ""


def resolve_weights(
    name: str,
    *,
    folder: Path | None = None,
    hub: HubSource | None = None,
    offline: bool = False,
    on_progress: OnProgress | None = None,
) -> ResolvedWeights:
    """Find weights by name: local folder, then the Hub, then bundled.

    Args:
        name:        one of ``manifest.WEIGHT_KINDS``, such as ``renderer``.
        folder:      a folder of the user's; a file of that name in it wins.
        hub:         a repository and full commit; None to leave the Hub out.
        offline:     use the Hub's local cache only.
        on_progress: bytes downloaded so far and in all; may raise to cancel.
    Returns:
        The file, where it came from, its hash, and a note when an earlier place was passed over.
    Raises:
        OptionsError: the name is unknown.
        WeightsError: a wrong hash anywhere, a folder, repository or commit that does not exist, or nothing
            found.
    """
    default_file(name)
    notes = []
    if folder is not None:
        found = _in_folder(name, Path(folder))
        if found is not None:
            return found
        notes.append(f"{folder} holds no {name}.")
    if hub is not None:
        try:
            found = _on_hub(name, hub, offline, on_progress)
            if found is not None:
                return found
            notes.append(f"{hub} does not offer {name}.")
        except HubUnreachableError as error:
            sentence = str(error)
            notes.append(sentence[0].upper() + sentence[1:])
    return _bundled(name, notes)


def _in_folder(name: str, folder: Path) -> ResolvedWeights | None:
    if not folder.is_dir():
        raise WeightsError(f"the weights folder {folder} does not exist; create it or leave the folder out.")
    entry = read_manifest(folder).get(name)
    path = folder / (entry.file if entry else default_file(name))
    if not path.is_file():
        return None
    if entry:
        return ResolvedWeights(path, "folder", _checked(path, entry, f"{folder / MANIFEST_FILE}"))
    return ResolvedWeights(
        path,
        "folder",
        sha256_of(path),
        f"{path.name} is in no manifest; its kind and shapes are checked on loading.",
    )


def _on_hub(
    name: str, hub: HubSource, offline: bool, on_progress: OnProgress | None
) -> ResolvedWeights | None:
    from .hub import fetch_file  # only where a Hub is asked

    listing = fetch_file(hub, MANIFEST_FILE, largest=LARGEST_MANIFEST, offline=offline).path
    try:
        text = listing.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WeightsError(
            f"{MANIFEST_FILE} of {hub} is not text; name a commit that was published whole."
        ) from error
    entry = parse_manifest(text, f"{MANIFEST_FILE} of {hub}").get(name)
    if entry is None:
        return None
    file = fetch_file(hub, entry.file, largest=entry.bytes, offline=offline, on_progress=on_progress)
    sha256 = _checked(file.path, entry, f"{MANIFEST_FILE} of {hub}")
    note = f"Downloaded from {hub}." if file.downloaded else f"From the local cache of {hub}."
    return ResolvedWeights(file.path, "hub", sha256, note)


def _bundled(name: str, notes: list[str]) -> ResolvedWeights:
    entry = read_manifest(BUNDLED_FOLDER).get(name)
    path = BUNDLED_FOLDER / default_file(name)
    passed_over = " ".join(notes)
    if entry is None or not path.is_file():
        what = (
            "is not among the files shipped with this release"
            if entry is None
            else f"is missing from {BUNDLED_FOLDER}"
        )
        hint = f"{passed_over} " if passed_over else ""
        raise WeightsError(
            f"{hint}The bundled {name} {what}; restore {path.name} or name a folder or Hub commit that has "
            "it."
        )
    sha256 = _checked(path, entry, MANIFEST_FILE)
    return ResolvedWeights(
        path, "bundled", sha256, f"{passed_over} Using the bundled {name}." if passed_over else ""
    )


def _checked(path: Path, entry: WeightFile, listed_in: str) -> str:
    """The file's sha256, once it equals the manifest's. Raises WeightsError."""
    sha256 = sha256_of(path)
    if sha256 != entry.sha256:
        raise WeightsError(
            f"{path.resolve()} has sha256 {sha256} but {listed_in} says {entry.sha256}; delete that file "
            "and get it again."
        )
    return sha256
