"""Checkpoints come back as they were saved, and nothing damaged, foreign or lying is accepted."""

from __future__ import annotations

import json
import os
import stat
import struct

import pytest
import torch
from safetensors.torch import save
from torch import nn

from personatalk_core.errors import WeightsError
from personatalk_core.weights.checkpoint import (
    load_checkpoint,
    load_into,
    save_checkpoint,
    sha256_of,
    write_atomically,
)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "part.safetensors"
    halves = torch.tensor([1.0, -1.0], dtype=torch.float16)
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "bias": halves, "index": torch.tensor([3, 4])}
    digest = save_checkpoint(
        path, tensors, kind="renderer", config={"width": 3}, licence="Apache-2.0", card="made in a test"
    )
    return path, tensors, digest


def write_raw(path, header: dict, data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_round_trip(saved):
    path, tensors, digest = saved
    loaded = load_checkpoint(path, kind="renderer", sha256=digest)
    assert (loaded.kind, loaded.config, loaded.licence, loaded.card) == (
        "renderer",
        {"width": 3},
        "Apache-2.0",
        "made in a test",
    )
    assert loaded.sha256 == digest == sha256_of(path)
    assert set(loaded.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_same_content_gives_same_bytes(saved, tmp_path):
    path, tensors, _ = saved
    again = tmp_path / "again.safetensors"
    backwards = dict(reversed(tensors.items()))
    save_checkpoint(
        again, backwards, kind="renderer", config={"width": 3}, licence="Apache-2.0", card="made in a test"
    )
    assert again.read_bytes() == path.read_bytes()


def test_a_view_and_a_shared_tensor_can_be_saved(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(
        tmp_path / "a.safetensors", {"turned": base.T, "one": base, "same": base}, kind="style", config={}
    )
    loaded = load_checkpoint(tmp_path / "a.safetensors", kind="style").tensors
    assert torch.equal(loaded["turned"], base.T)
    assert torch.equal(loaded["one"], loaded["same"])


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="does not exist; expected lip_sync weights"):
        load_checkpoint(tmp_path / "none.safetensors", kind="lip_sync")


def test_wrong_kind(saved):
    with pytest.raises(WeightsError, match="holds 'renderer' but expected 'lip_sync'"):
        load_checkpoint(saved[0], kind="lip_sync")


def test_wrong_hash(saved):
    with pytest.raises(WeightsError, match="has sha256 .* but expected 0000"):
        load_checkpoint(saved[0], kind="renderer", sha256="0" * 64)


def test_one_flipped_bit_is_found(saved):
    path, _, digest = saved
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="has sha256"):
        load_checkpoint(path, kind="renderer", sha256=digest)


def test_foreign_safetensors_without_our_header(tmp_path):
    (tmp_path / "foreign.safetensors").write_bytes(save({"a": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="an unknown kind of data"):
        load_checkpoint(tmp_path / "foreign.safetensors", kind="renderer")


LYING = [
    "[]",
    "3",
    '"renderer"',
    "null",
    "{",
    '{"kind": "renderer"}',
    '{"kind": "renderer", "version": "1", "config": {}}',
    '{"kind": "renderer", "version": 1, "config": 5}',
    '{"kind": "renderer", "version": 99, "config": {}}',
]


@pytest.mark.parametrize("entry", LYING)
def test_lying_header(tmp_path, entry):
    path = tmp_path / "lying.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"personatalk": entry}))
    with pytest.raises(WeightsError):
        load_checkpoint(path, kind="renderer")


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]},  # more than the file has
        {"dtype": "F32", "shape": [10], "data_offsets": [0, 4]},  # shape and offsets disagree
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]},  # overflow
        {"dtype": "X99", "shape": [1], "data_offsets": [0, 4]},  # no such dtype
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},  # backwards
    ],
)
def test_lying_tensor_table(tmp_path, tensor):
    entry = json.dumps({"kind": "renderer", "version": 1, "config": {}})
    write_raw(
        tmp_path / "lying.safetensors", {"__metadata__": {"personatalk": entry}, "a": tensor}, b"\0" * 4
    )
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_checkpoint(tmp_path / "lying.safetensors", kind="renderer")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04pickled", struct.pack("<Q", 2**60) + b"{}", b"PK\x03\x04 a zip, as torch.save makes"],
)
def test_not_safetensors_at_all(tmp_path, data):
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_checkpoint(tmp_path / "bad.safetensors", kind="renderer")


def test_truncated(saved):
    path = saved[0]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_checkpoint(path, kind="renderer")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_values(tmp_path, value):
    save_checkpoint(
        tmp_path / "nan.safetensors",
        {"fine": torch.ones(2), "ill": torch.tensor([1.0, value])},
        kind="renderer",
        config={},
    )
    with pytest.raises(WeightsError, match="non-finite values in 'ill'"):
        load_checkpoint(tmp_path / "nan.safetensors", kind="renderer")


def test_load_into_fills_a_module(tmp_path):
    source = nn.Linear(3, 2)
    save_checkpoint(
        tmp_path / "linear.safetensors",
        {n: t.half() for n, t in source.state_dict().items()},
        kind="renderer",
        config={},
    )
    target = load_into(nn.Linear(3, 2), load_checkpoint(tmp_path / "linear.safetensors", kind="renderer"))
    assert not target.training
    assert target.weight.dtype == torch.float32
    assert torch.equal(target.weight, source.weight.half().float())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)},
            r"shapes \['weight \(2, 4\) instead of \(2, 3\)'\]",
        ),
        ({"weight": torch.zeros(2, 3)}, r"missing \['bias'\]"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)},
            r"unexpected \['more'\]",
        ),
    ],
)
def test_load_into_refuses_what_does_not_fit(tmp_path, tensors, message):
    save_checkpoint(tmp_path / "linear.safetensors", tensors, kind="renderer", config={})
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    with pytest.raises(WeightsError, match=message):
        load_into(module, load_checkpoint(tmp_path / "linear.safetensors", kind="renderer"))
    assert torch.equal(module.weight, before)


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "new" / "file.bin"
    write_atomically(target, b"first")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"second")
    assert target.read_bytes() == b"first"
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_written_file_has_ordinary_permissions(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "ordinary").stat().st_mode
    )
