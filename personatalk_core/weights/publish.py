"""Upload a folder of weights to the Hub: every file verified first, then weights, model card and manifest in
one commit."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError
from ..types import OnProgress
from .checkpoint import load_checkpoint, sha256_of
from .hub import http_error
from .manifest import (
    BUNDLED_FOLDER,
    MANIFEST_FILE,
    TASK_KIND,
    HubUnreachableError,
    WeightFile,
    check_repository,
    read_manifest,
)

MODEL_CARD = "README.md"
NOTICE = "NOTICE.md"  # licences of parts made by others, where there are any


@dataclass(frozen=True)
class PublishedWeights:
    """What was uploaded. repo_id: OWNER/NAME.  commit: full hash, to be pinned by users.  url: of the
    commit."""

    repo_id: str
    commit: str
    url: str

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.commit}"


def publish_weights(
    repo_id: str,
    *,
    folder: Path | None = None,
    token: str | None = None,
    private: bool = True,
    message: str = "Publish weights",
    on_progress: OnProgress | None = None,
) -> PublishedWeights:
    """Verify a folder of weights and upload it as one commit.

    Args:
        repo_id:     OWNER/NAME; created when it does not exist.
        folder:      holds manifest.json, README.md and the files listed; None for the bundled ones.
        token:       access token with write permission; None for the user's login.
        private:     visibility of a repository that is created here; an existing one keeps its own.
        message:     of the commit.
        on_progress: files verified so far and in all, the upload counting as the last; may raise to cancel.
    Raises:
        OptionsError: the repository is not OWNER/NAME.
        WeightsError: a file is missing, damaged or unlisted, there is no model card, or the Hub refuses.
    """
    check_repository(repo_id)
    folder = Path(folder) if folder is not None else BUNDLED_FOLDER
    entries = list(read_manifest(folder).values())
    if not entries:
        raise WeightsError(
            f"{folder / MANIFEST_FILE} is missing or lists nothing; write it with "
            "personatalk_core.weights.manifest."
        )
    check_model_card(folder / MODEL_CARD)
    steps = len(entries) + 1
    for done, entry in enumerate(entries):
        if on_progress:
            on_progress(done, steps)
        verify_weights(folder / entry.file, entry)
    if on_progress:
        on_progress(steps - 1, steps)
    texts = [MODEL_CARD, MANIFEST_FILE, *([NOTICE] if (folder / NOTICE).is_file() else [])]
    published = _upload(
        repo_id, folder, [*(entry.file for entry in entries), *texts], token, private, message
    )
    if on_progress:
        on_progress(steps, steps)
    return published


def verify_weights(path: Path, entry: WeightFile) -> None:
    """Compare a file with its manifest entry and open it: kind, finite values. Raises WeightsError."""
    if entry.kind != TASK_KIND:
        load_checkpoint(path, kind=entry.kind, sha256=entry.sha256)
        return
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist but {MANIFEST_FILE} lists it; restore the file or write the manifest "
            "again."
        )
    if sha256_of(path) != entry.sha256:
        raise WeightsError(
            f"{path} is not the file that {MANIFEST_FILE} lists; restore the file or write the manifest "
            "again."
        )
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is not a MediaPipe task bundle; expected a zip archive of models.")


def check_model_card(path: Path) -> None:
    """Refuse a model card without the Hub's metadata block and licence. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; weights are only published with a model card.")
    head, mark, _ = path.read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")
    if not mark or "license:" not in head:
        raise WeightsError(
            f"{path} does not begin with a metadata block between two lines '---' that names a license; "
            "add one."
        )


def _upload(
    repo_id: str, folder: Path, files: list[str], token: str | None, private: bool, message: str
) -> PublishedWeights:
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in files]
        commit = api.create_commit(repo_id, operations, commit_message=message)
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise WeightsError(
            f"the Hub refused to publish {repo_id} with status {status}; use a token that may write to it."
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise WeightsError("no Hub token was found; log in with `hf auth login` or give one.") from error
    except (OSError, http_error(errors)) as error:
        raise HubUnreachableError(
            f"the Hub cannot be reached ({type(error).__name__}); check the network and try again."
        ) from error
    except (ValueError, RuntimeError) as error:  # as the client refuses metadata, or fails at a large file
        raise WeightsError(f"{repo_id} was not published ({error}); nothing was committed.") from error
    return PublishedWeights(repo_id, commit.oid, commit.commit_url)
