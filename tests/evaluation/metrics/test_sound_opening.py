from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import OptionsError, WeightsError
from personatalk_core.evaluation.judges.networks import bundled_sound_opening
from personatalk_core.evaluation.metrics.lip_sync_score import (
    CONTEXT_FRAMES,
    MEL_BANDS,
    STEPS_A_FRAME,
    correlation,
    load_sound_opening,
    save_sound_opening,
    sound_features,
    sync_curve,
)
from personatalk_core.training.speech.linear_judges import fit_sound_opening, in_step


def talker(seed, frames=200):
    """Noise whose loudness is the mouth's opening."""
    generator = torch.Generator().manual_seed(seed)
    opening = torch.nn.functional.avg_pool1d(torch.rand(1, 1, frames, generator=generator), 3, 1, 1)[0, 0]
    return torch.randn(frames * 640, generator=generator) * opening.repeat_interleave(640) ** 2, opening


def test_features_are_one_row_a_frame_and_centred_on_it():
    samples = 1e-4 * torch.randn(50 * 640, generator=torch.Generator().manual_seed(0))
    samples[20 * 640 : 21 * 640] += 0.5 * torch.randn(640, generator=torch.Generator().manual_seed(1))
    features = sound_features(samples, 50)
    assert features.shape == (50, (2 * CONTEXT_FRAMES + 1) * STEPS_A_FRAME * MEL_BANDS)
    own = features.reshape(50, 2 * CONTEXT_FRAMES + 1, -1)[:, CONTEXT_FRAMES].mean(1)
    assert int(own.argmax()) == 20


def test_a_fitted_judge_hears_a_new_talker_in_step():
    usable = torch.ones(200, dtype=torch.bool)
    judge = fit_sound_opening([(f"p{k}", *talker(k), usable) for k in range(6)], ridge=100.0)
    samples, opening = talker(99)
    heard = judge(samples, 200)
    assert correlation(heard, opening) > 0.8
    # the sound is late, so the mouth is early
    assert sync_curve(opening, judge(in_step(samples, 3.0), 200)).best_lag == -3
    assert sync_curve(opening, judge(in_step(samples, -2.0), 198)).best_lag == 2


def test_the_bundled_judge_prefers_loud_frames_to_silence():
    samples, opening = talker(5)
    assert correlation(bundled_sound_opening()(samples, 200), opening) > 0.3


def test_weights_come_back_and_nothing_to_fit_is_refused(tmp_path):
    samples, opening = talker(1)
    judge = fit_sound_opening([("p", samples, opening, torch.ones(200, dtype=torch.bool))])
    save_sound_opening(tmp_path / "j.safetensors", judge, "card")
    assert torch.equal(load_sound_opening(tmp_path / "j.safetensors").weight, judge.weight)
    with pytest.raises(WeightsError):
        load_sound_opening(tmp_path / "k.safetensors")
    with pytest.raises(OptionsError, match="usable"):
        fit_sound_opening([("p", samples, opening, torch.zeros(200, dtype=torch.bool))])
