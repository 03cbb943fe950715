"""Single files from one pinned commit of a Hub repository, through ``huggingface_hub`` and its cache.

Knows nothing of what the files mean; the resolver decides what to ask for and checks hashes. The client is
imported when first needed and reads HF_ENDPOINT, HF_HOME and the user's login by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from ..errors import WeightsError
from ..types import OnProgress
from .manifest import HubSource, HubUnreachableError

PROBE_SECONDS = 10.0
BUSY_STATUS = (408, 429, 500, 502, 503, 504)  # the Hub is there but cannot answer now


@dataclass(frozen=True)
class HubFile:
    """A file on this machine. downloaded is False when it was in the local cache already."""

    path: Path
    downloaded: bool


def fetch_file(
    hub: HubSource, file: str, *, largest: int, offline: bool = False, on_progress: OnProgress | None = None
) -> HubFile:
    """Bring one file of the pinned commit into the local cache, continuing after a cut connection.

    Args:
        hub:         where from.
        file:        name inside the repository.
        largest:     most bytes the file may have; checked before anything is downloaded.
        offline:     look in the cache only.
        on_progress: called with bytes so far and in all; may raise to cancel.
    Raises:
        HubUnreachableError: not in the cache, and the Hub cannot or may not be asked.
        WeightsError: repository, commit or file does not exist, access is refused, or the file is too large.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    address = hf_hub_url(hub.repo_id, file, revision=hub.revision)
    download = partial(
        hf_hub_download,
        hub.repo_id,
        file,
        revision=hub.revision,
        cache_dir=hub.cache_dir,
        token=hub.token,
    )
    try:
        cached = download(local_files_only=True)
        return HubFile(Path(cached), downloaded=False)
    except LocalEntryNotFoundError:
        if offline:
            raise HubUnreachableError(
                f"{file} of {hub} is not in the local cache and offline was asked for; go online once."
            ) from None
    with _spoken_errors(hub, file):
        # Asked first, once: the client's own download would repeat a failing question for half a minute.
        found = get_hf_file_metadata(address, token=hub.token, timeout=PROBE_SECONDS)
        if found.commit_hash is None:
            raise HubUnreachableError(
                f"the server asked for {file} of {hub} does not answer like a Hub; check the network's "
                "login page."
            )
        if found.commit_hash != hub.revision:
            raise WeightsError(
                f"the Hub answered for {found.commit_hash} instead of {hub.revision} of {hub.repo_id}; "
                "name a full commit."
            )
        if found.size is None or found.size > largest:
            raise WeightsError(
                f"{file} of {hub} has {found.size} bytes but at most {largest} were expected; do not use "
                "this repository."
            )
        options = {}
        # older clients report only start and end
        if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
            options["tqdm_class"] = _reporting_bar(on_progress, found.size)
        if on_progress:
            on_progress(0, found.size)
        path = download(**options)
        if on_progress:
            on_progress(found.size, found.size)
    return HubFile(Path(path), downloaded=True)


def http_error(errors: ModuleType) -> type[Exception]:
    """The base error of the HTTP library under the client, which its ``errors`` module imports."""
    return vars(errors)["HTTPError"]


@contextmanager
def _spoken_errors(hub: HubSource, file: str) -> Iterator[None]:
    """Turn the client's many errors into one sentence; only a Hub that gives no answer is
    HubUnreachableError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{hub.repo_id} asks for access on the Hub; accept its terms there and log in with `hf auth "
            "login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"{hub.repo_id} is not on the Hub or is private; check the name or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"{hub.repo_id} has no commit {hub.revision} on the Hub; copy the full hash from its commit list."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise HubUnreachableError(
            f"the Hub stopped answering while {file} of {hub} was asked for; try again later."
        ) from error
    except errors.EntryNotFoundError as error:
        raise WeightsError(f"{hub} has no file {file}; name a commit that was published whole.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in BUSY_STATUS:
            raise HubUnreachableError(
                f"the Hub answered {status} when asked for {file} of {hub}; try again later."
            ) from error
        raise WeightsError(
            f"the Hub refused {file} of {hub} with status {status}; check the token's permissions."
        ) from error
    except Exception as error:
        # requests, httpx or httpx2, as the client's version has it
        library = http_error(errors).__module__.partition(".")[0]
        if (
            isinstance(error, (ConnectionError, TimeoutError))
            or type(error).__module__.partition(".")[0] == library
        ):
            raise HubUnreachableError(
                f"the Hub cannot be reached for {file} of {hub} ({type(error).__name__}); try later."
            ) from error
        if isinstance(error, OSError):
            raise WeightsError(
                f"{file} of {hub} cannot be stored ({error}); check the disk and the cache folder."
            ) from error
        raise


def _reporting_bar(on_progress: OnProgress | None, size: int) -> type:
    """A silent stand-in for the client's progress bar that reports bytes to ``on_progress``."""
    from tqdm import tqdm

    class ReportingBar(tqdm):
        """Counts bytes and passes them on."""

        def __init__(self, *args, initial: int = 0, **kwargs) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.reached = initial

        def update(self, n: float | None = 1) -> None:
            """Count n more bytes."""
            self.reached += int(n or 0)
            if on_progress:
                on_progress(min(self.reached, size), size)

    return ReportingBar
