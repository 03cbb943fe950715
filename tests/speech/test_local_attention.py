"""Eq. 3 equals the sum written out, knows relative positions only and nothing beyond its reach."""

from __future__ import annotations

import torch

from personatalk_core.speech.local_attention import LocalAttention, band_mask, rotary_table, rotate


def test_attention_equals_the_sum_written_out():
    torch.manual_seed(0)
    layer = LocalAttention(8, heads=1, reach=2)
    query, source = torch.randn(1, 9, 8), torch.randn(1, 9, 8)
    rotation = rotary_table(9, 8, query.device, query.dtype)
    q = rotate(layer.q_proj(query)[:, None], rotation)[0, 0]
    k = rotate(layer.k_proj(source)[:, None], rotation)[0, 0]
    v = layer.v_proj(source)[0]
    rows = []
    for t in range(9):
        near = [j for j in range(9) if abs(j - t) <= 2]
        share = torch.softmax(torch.stack([q[t] @ k[j] / 8**0.5 for j in near]), 0)
        rows.append(sum(s * v[j] for s, j in zip(share, near, strict=True)))
    assert torch.allclose(layer(query, source)[0], layer.o_proj(torch.stack(rows)), atol=1e-5)


def test_only_relative_position_matters():
    torch.manual_seed(0)
    layer = LocalAttention(16, heads=2, reach=3)
    x = torch.randn(1, 40, 16)
    whole, part = layer(x, x), layer(x[:, 10:30], x[:, 10:30])
    assert torch.allclose(whole[:, 13:27], part[:, 3:-3], atol=1e-5)
    assert not torch.allclose(whole[:, 10:13], part[:, :3], atol=1e-3)


def test_frames_beyond_the_reach_have_no_influence():
    layer = LocalAttention(16, heads=2, reach=3)
    x = torch.randn(1, 20, 16)
    changed = x.clone()
    changed[:, 10] += 5
    moved = (layer(x, x) - layer(changed, changed)).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero()[:, 0].tolist() == list(range(7, 14))


def test_no_mask_where_nothing_is_out_of_reach():
    assert band_mask(5, None, torch.device("cpu")) is None
    assert band_mask(5, 4, torch.device("cpu")) is None
    assert int(band_mask(5, 1, torch.device("cpu")).sum()) == 13
