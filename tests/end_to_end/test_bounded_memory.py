"""An hour takes no more memory than a minute, scaled down: windows of a few frames, so that seconds of video stand for minutes."""

from __future__ import annotations

import sys

import pytest
from personatalk_core.evaluation.long_clip_benchmark import compare, run

SIZE = (480, 480)
FRAME_MIB = SIZE[0] * SIZE[1] * 3 / 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak of resident memory")
def test_four_times_the_frames_take_no_more_memory():
    """Tracking, fitting, speech, rendering and coding of a whole dub; only the networks' work is cut short."""
    short, long = run([0.04, 0.16], SIZE, stand_ins=True, windows=12)
    assert (short["frames"], long["frames"]) == (60, 240)
    assert long["dubbed"] == 240
    more = long["peak_rss_mib"] - short["peak_rss_mib"]
    whole = (long["frames"] - short["frames"]) * FRAME_MIB  # 119 MiB, were all frames kept
    assert more < 0.6 * whole, compare([short, long])
