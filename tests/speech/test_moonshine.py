"""The encoder gives what transformers' does, and a window what the clip would."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.speech.moonshine import MoonshineEncoder, MoonshineSizes


def test_same_output_as_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.MoonshineConfig(
        hidden_size=48, intermediate_size=96, encoder_num_hidden_layers=2, encoder_num_attention_heads=4
    )
    theirs = transformers.MoonshineModel(config).encoder.eval()
    ours = MoonshineEncoder(MoonshineSizes(width=48, inner_width=96, layers=2, heads=4, reach=None)).eval()
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing.missing_keys
    samples = torch.randn(2, 9000) * 0.1
    with torch.no_grad():
        assert torch.allclose(ours(samples)[-1], theirs(samples).last_hidden_state, atol=1e-5)


def test_field_centre_and_hop_are_those_of_the_convolutions():
    encoder = MoonshineEncoder(MoonshineSizes(width=8, inner_width=8, layers=0, heads=2)).eval()
    statistics = torch.zeros(1), torch.ones(1)
    assert encoder(torch.zeros(1, encoder.field), statistics)[0].shape[1] == 1
    assert encoder(torch.zeros(1, encoder.field + encoder.hop), statistics)[0].shape[1] == 2
    samples = torch.randn(1, 6000)
    before = encoder(samples, statistics)[0]
    touched = []
    for place in range(0, 6000, 16):
        changed = samples.clone()
        changed[0, place : place + 16] += 1
        if (encoder(changed, statistics)[0][0, 3] - before[0, 3]).abs().max() > 1e-6:
            touched.append(place)
    middle = (touched[0] + touched[-1] + 16) / 2
    assert abs(middle - (encoder.centre + 3 * encoder.hop)) <= 16


def test_statistics_given_replace_the_windows_own():
    encoder = MoonshineEncoder(MoonshineSizes(width=8, inner_width=8, layers=1, heads=2)).eval()
    samples = torch.randn(1, 4000)
    hidden = encoder.first_layer(samples)
    own = hidden.mean((1, 2)), hidden.var((1, 2), unbiased=False)
    assert torch.allclose(encoder(samples)[-1], encoder(samples, own)[-1], atol=1e-5)
    assert not torch.allclose(encoder(samples)[0], encoder(samples, (own[0], own[1] * 4))[0], atol=1e-3)
