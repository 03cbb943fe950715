"""Weights are found in a folder, then on the Hub, then bundled; a wrong hash is never passed over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personatalk_core.errors import OptionsError, WeightsError
from personatalk_core.weights import resolver
from personatalk_core.weights.checkpoint import load_checkpoint, save_checkpoint, sha256_of
from personatalk_core.weights.hub import HubSource, HubUnreachableError, fetch_file
from personatalk_core.weights.manifest import BUNDLED_FOLDER, read_manifest
from personatalk_core.weights.resolver import resolve_weights

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "someone/weights"


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A bundled folder that holds face_model only."""
    from personatalk_core.weights.manifest import write_manifest

    folder = tmp_path / "bundled"
    save_checkpoint(folder / "face_model.safetensors", {}, kind="face_model", config={"bundled": True})
    write_manifest(folder)
    monkeypatch.setattr(resolver, "BUNDLED_FOLDER", folder)
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def source(stand_in_hub, weights_folder, tmp_path):
    """A commit of the whole weights folder on the stand-in, with an empty cache."""
    commit = stand_in_hub.add(REPOSITORY, read_folder(weights_folder))
    return HubSource(REPOSITORY, commit, token=False, cache_dir=tmp_path / "cache")


def other_commit(source: HubSource, commit: str, repo_id: str = REPOSITORY) -> HubSource:
    return HubSource(repo_id, commit, token=False, cache_dir=source.cache_dir)


# Bundled and folder


@pytest.mark.parametrize("name", read_manifest(BUNDLED_FOLDER))
def test_real_bundled_weights_resolve_offline(name):
    found = resolve_weights(name, offline=True)
    assert (found.origin, found.note) == ("bundled", "")
    assert found.sha256 == sha256_of(found.path)


def test_damaged_bundled_file(bundled):
    (bundled / "face_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="face_model.safetensors has sha256 .* but manifest.json says"):
        resolve_weights("face_model")


def test_nothing_anywhere(bundled, tmp_path):
    with pytest.raises(
        WeightsError, match="holds no renderer. The bundled renderer is not among the files shipped"
    ):
        resolve_weights("renderer", folder=tmp_path)
    (bundled / "face_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="The bundled face_model is missing from"):
        resolve_weights("face_model")


def test_unknown_name():
    with pytest.raises(OptionsError, match="named 'nose'"):
        resolve_weights("nose")


def test_folder_wins(weights_folder, bundled):
    found = resolve_weights("face_model", folder=weights_folder)
    assert (found.path, found.origin, found.note) == (weights_folder / "face_model.safetensors", "folder", "")


def test_folder_manifest_may_name_another_file(weights_folder, bundled):
    (weights_folder / "renderer.safetensors").rename(weights_folder / "sharper.safetensors")
    manifest = (
        (weights_folder / "manifest.json").read_text().replace("renderer.safetensors", "sharper.safetensors")
    )
    (weights_folder / "manifest.json").write_text(manifest)
    assert resolve_weights("renderer", folder=weights_folder).path.name == "sharper.safetensors"


def test_wrong_hash_in_the_folder_is_no_reason_to_look_elsewhere(weights_folder, bundled):
    (weights_folder / "face_model.safetensors").write_bytes((bundled / "face_model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="has sha256"):
        resolve_weights("face_model", folder=weights_folder)


def test_folder_without_manifest_is_taken_with_a_note(weights_folder, bundled):
    (weights_folder / "manifest.json").unlink()
    found = resolve_weights("face_model", folder=weights_folder)
    assert found.origin == "folder"
    assert "in no manifest" in found.note


def test_folder_that_lacks_the_file_or_does_not_exist(bundled, tmp_path):
    found = resolve_weights("face_model", folder=tmp_path)
    assert (found.origin, found.path.parent) == ("bundled", bundled)
    assert "holds no face_model" in found.note
    with pytest.raises(WeightsError, match="does not exist; create it"):
        resolve_weights("face_model", folder=tmp_path / "nowhere")


# Hub


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "a" * 40 + "\n"]
)
def test_revision_must_be_a_full_commit(revision):
    with pytest.raises(OptionsError, match="expected a full commit hash, 40 hex digits"):
        HubSource(REPOSITORY, revision)


@pytest.mark.parametrize("repo_id", ["weights", "a/b/c", "../x", "https://x/y", "a b/c", ""])
def test_repository_must_be_owner_and_name(repo_id):
    with pytest.raises(OptionsError, match="expected OWNER/NAME"):
        HubSource(repo_id, "a" * 40)


def test_source_from_text_hides_its_token():
    assert HubSource.parse(f"someone/weights@{'a' * 40}") == HubSource("someone/weights", "a" * 40)
    assert "secret" not in repr(HubSource(REPOSITORY, "a" * 40, token="secret"))


def test_download_then_cache(source, stand_in_hub, weights_folder, bundled):
    seen = []
    found = resolve_weights(
        "renderer", hub=source, on_progress=lambda done, total: seen.append((done, total))
    )
    size = (weights_folder / "renderer.safetensors").stat().st_size
    assert found.origin == "hub"
    assert found.path.read_bytes() == (weights_folder / "renderer.safetensors").read_bytes()
    assert found.note == f"Downloaded from {source}."
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    asked = len(stand_in_hub.requests)
    again = resolve_weights("renderer", hub=source)
    assert (again.path, again.note) == (found.path, f"From the local cache of {source}.")
    assert len(stand_in_hub.requests) == asked, "a pinned commit in the cache needs no question"


def test_folder_comes_before_the_hub(source, stand_in_hub, weights_folder, bundled):
    assert resolve_weights("renderer", folder=weights_folder, hub=source).origin == "folder"
    assert stand_in_hub.requests == []


def test_resume_of_a_half_downloaded_file(source, stand_in_hub, weights_folder):
    stand_in_hub.cut_after = 50_000
    size = (weights_folder / "renderer.safetensors").stat().st_size
    try:
        found = fetch_file(source, "renderer.safetensors", largest=size)
    except (
        HubUnreachableError
    ):  # some versions of the client continue in the next call rather than in the same
        found = fetch_file(source, "renderer.safetensors", largest=size)
    assert found.path.read_bytes() == (weights_folder / "renderer.safetensors").read_bytes()
    assert stand_in_hub.downloads("renderer.safetensors") == [None, "bytes=50000-"]


def test_wrong_hash_on_the_hub(stand_in_hub, source, weights_folder, bundled):
    files = read_folder(weights_folder)
    files["face_model.safetensors"] = files["face_model.safetensors"][:-1] + b"\xff"
    commit = stand_in_hub.add(REPOSITORY, files)
    for _ in range(2):  # nor the second time, from the cache
        with pytest.raises(
            WeightsError, match="has sha256 .* but manifest.json of someone/weights at .* says"
        ):
            resolve_weights("face_model", hub=other_commit(source, commit))


def test_deleting_the_file_that_the_error_names_heals_the_cache(source, bundled):
    path = resolve_weights("face_model", hub=source).path
    path.resolve().write_bytes(b"damaged on disk")
    with pytest.raises(WeightsError, match="delete that file") as caught:
        resolve_weights("face_model", hub=source)
    Path(str(caught.value).partition(" has sha256")[0]).unlink()
    assert resolve_weights("face_model", hub=source).origin == "hub"


def test_larger_than_the_manifest_says_is_not_downloaded(stand_in_hub, source, weights_folder, bundled):
    files = read_folder(weights_folder)
    files["renderer.safetensors"] += b"more"
    commit = stand_in_hub.add(REPOSITORY, files)
    with pytest.raises(WeightsError, match="bytes but at most"):
        resolve_weights("renderer", hub=other_commit(source, commit))
    assert stand_in_hub.downloads("renderer.safetensors") == []


def test_name_that_the_commit_does_not_offer(stand_in_hub, source, weights_folder, bundled):
    manifest = json.loads((weights_folder / "manifest.json").read_text())
    manifest["files"] = [row for row in manifest["files"] if row["name"] != "face_model"]
    commit = stand_in_hub.add(
        REPOSITORY, {**read_folder(weights_folder), "manifest.json": json.dumps(manifest).encode()}
    )
    found = resolve_weights("face_model", hub=other_commit(source, commit))
    assert found.origin == "bundled"
    assert "does not offer face_model. Using the bundled face_model." in found.note


def test_file_that_the_manifest_lists_is_missing(stand_in_hub, source, weights_folder, bundled):
    files = read_folder(weights_folder)
    del files["face_model.safetensors"]
    commit = stand_in_hub.add(REPOSITORY, files)
    with pytest.raises(WeightsError, match="has no file face_model.safetensors"):
        resolve_weights("face_model", hub=other_commit(source, commit))


def test_commit_without_a_manifest(stand_in_hub, source, bundled):
    commit = stand_in_hub.add(REPOSITORY, {"README.md": b""})
    with pytest.raises(WeightsError, match="has no file manifest.json"):
        resolve_weights("face_model", hub=other_commit(source, commit))


def test_missing_revision_and_missing_repository(source, bundled):
    with pytest.raises(WeightsError, match="someone/weights has no commit bbbb"):
        resolve_weights("face_model", hub=other_commit(source, "b" * 40))
    with pytest.raises(WeightsError, match="nobody/nothing is not on the Hub or is private"):
        resolve_weights("face_model", hub=other_commit(source, "b" * 40, "nobody/nothing"))


def test_unreachable_hub_with_and_without_a_cached_copy(source, stand_in_hub, bundled):
    cached = resolve_weights("renderer", hub=source)
    stand_in_hub.stop()
    assert resolve_weights("renderer", hub=source).path == cached.path
    found = resolve_weights("face_model", hub=source)
    assert (found.origin, found.path.parent) == ("bundled", bundled)
    assert found.note.startswith("The Hub cannot be reached for face_model.safetensors of someone/weights")


@pytest.mark.parametrize("status", [503, 429])
def test_busy_hub_counts_as_unreachable(source, stand_in_hub, bundled, status):
    stand_in_hub.status = status
    found = resolve_weights("face_model", hub=source)
    assert found.origin == "bundled"
    assert f"answered {status}" in found.note


def test_refused_access_is_an_error(source, stand_in_hub, bundled):
    stand_in_hub.status = 403
    with pytest.raises(WeightsError, match="refused manifest.json .* with status 403"):
        resolve_weights("face_model", hub=source)


def test_a_login_page_is_not_a_hub(source, stand_in_hub, bundled):
    stand_in_hub.hides_commit = True
    found = resolve_weights("face_model", hub=source)
    assert found.origin == "bundled"
    assert "does not answer like a Hub" in found.note


def test_offline_uses_the_cache_and_asks_nothing(source, stand_in_hub, bundled):
    cached = resolve_weights("renderer", hub=source)
    asked = len(stand_in_hub.requests)
    assert resolve_weights("renderer", hub=source, offline=True).path == cached.path
    found = resolve_weights("face_model", hub=source, offline=True)
    assert found.origin == "bundled"
    assert "offline was asked for" in found.note
    with pytest.raises(WeightsError, match="offline was asked for.*The bundled lip_sync"):
        resolve_weights("lip_sync", hub=other_commit(source, "c" * 40), offline=True)
    assert len(stand_in_hub.requests) == asked


def test_cancelling_leaves_nothing_behind(source, bundled):
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        resolve_weights("renderer", hub=source, on_progress=cancel)
    with pytest.raises(HubUnreachableError):
        fetch_file(source, "renderer.safetensors", largest=1 << 20, offline=True)


CHILD = """
import sys
from personatalk_core.weights.hub import HubSource
from personatalk_core.weights.publish import publish_weights
from personatalk_core.weights.resolver import resolve_weights
published = publish_weights("someone/new", folder=sys.argv[1], token="hf_of_the_test")
found = resolve_weights("renderer", hub=HubSource.parse(str(published)))
print(found.origin, found.path)
"""


def test_publish_then_resolve_with_the_clients_own_settings(stand_in_hub, weights_folder, tmp_path):
    """In a process of its own: the client reads HF_ENDPOINT and HF_HOME when it is imported."""
    env = {
        **os.environ,
        "HF_ENDPOINT": stand_in_hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", CHILD, str(weights_folder)]
    child = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    origin, path = child.stdout.split()
    assert origin == "hub"
    assert Path(path).is_relative_to(tmp_path / "home")
    assert load_checkpoint(Path(path), kind="renderer").config == {"width": 300}
