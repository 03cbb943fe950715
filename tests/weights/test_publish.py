"""Publishing verifies everything first and makes one commit that others can pin."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import OptionsError, WeightsError
from personatalk_core.weights.checkpoint import save_checkpoint
from personatalk_core.weights.hub import HubSource, HubUnreachableError
from personatalk_core.weights.manifest import BUNDLED_FOLDER, write_manifest
from personatalk_core.weights.publish import check_model_card, publish_weights
from personatalk_core.weights.resolver import resolve_weights


def publish(folder, **options):
    return publish_weights("someone/new", folder=folder, token="hf_of_the_test", **options)


def test_publish_then_resolve(stand_in_hub, weights_folder, tmp_path):
    seen = []
    published = publish(weights_folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert published.url == f"{stand_in_hub.endpoint}/someone/new/commit/{published.commit}"
    assert list(stand_in_hub.commits["someone/new"]) == [published.commit], "one commit"
    files = stand_in_hub.commits["someone/new"][published.commit]
    assert files == {path.name: path.read_bytes() for path in weights_folder.iterdir()}
    source = HubSource("someone/new", published.commit, token=False, cache_dir=tmp_path / "cache")
    for name in ("face_model", "renderer", "face_landmarker"):
        assert resolve_weights(name, hub=source).origin == "hub"


@pytest.mark.parametrize("private", [True, False])
def test_visibility(stand_in_hub, weights_folder, private):
    publish(weights_folder, private=private)
    wish = stand_in_hub.created[0]
    assert (wish.get("private", wish.get("visibility") == "private")) is private
    assert (wish["organization"], wish["name"]) == ("someone", "new")


def test_notice_of_others_licences_goes_along(stand_in_hub, weights_folder):
    (weights_folder / "NOTICE.md").write_text("MIT")
    published = publish(weights_folder)
    assert stand_in_hub.commits["someone/new"][published.commit]["NOTICE.md"] == b"MIT"


def test_unlisted_files_stay_here(stand_in_hub, weights_folder):
    (weights_folder / "private_notes.txt").write_text("not for others")
    published = publish(weights_folder)
    assert "private_notes.txt" not in stand_in_hub.commits["someone/new"][published.commit]


def damage_hash(folder):
    (folder / "renderer.safetensors").write_bytes(b"damaged")


def remove_file(folder):
    (folder / "face_landmarker.task").unlink()


def change_kind(folder):
    save_checkpoint(folder / "renderer.safetensors", {}, kind="lip_sync", config={})
    write_manifest(folder)


def make_non_finite(folder):
    save_checkpoint(
        folder / "renderer.safetensors", {"w": torch.tensor([float("nan")])}, kind="renderer", config={}
    )
    write_manifest(folder)


def break_bundle(folder):
    (folder / "face_landmarker.task").write_bytes(b"not a zip")
    write_manifest(folder)


def remove_card(folder):
    (folder / "README.md").unlink()


def strip_metadata(folder):
    (folder / "README.md").write_text("# A card without metadata\n")


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage_hash, "has sha256"),
        (remove_file, "does not exist but manifest.json lists it"),
        (change_kind, "holds 'lip_sync' but expected 'renderer'"),
        (make_non_finite, "non-finite values in 'w'"),
        (break_bundle, "not a MediaPipe task bundle"),
        (remove_card, "only published with a model card"),
        (strip_metadata, "names a license"),
        (remove_manifest, "missing or lists nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_is_sent_unless_all_is_well(stand_in_hub, weights_folder, harm, message):
    harm(weights_folder)
    with pytest.raises(WeightsError, match=message):
        publish(weights_folder)
    assert stand_in_hub.requests == []


def test_repository_name(stand_in_hub, weights_folder):
    with pytest.raises(OptionsError, match="expected OWNER/NAME"):
        publish_weights("new", folder=weights_folder, token="hf_of_the_test")


def test_refused_and_unreachable(stand_in_hub, weights_folder):
    stand_in_hub.status = 403
    with pytest.raises(WeightsError, match="refused to publish someone/new with status 403"):
        publish(weights_folder)
    stand_in_hub.stop()
    with pytest.raises(HubUnreachableError, match="cannot be reached"):
        publish(weights_folder)


def test_the_bundled_model_card_can_be_published():
    check_model_card(BUNDLED_FOLDER / "README.md")
