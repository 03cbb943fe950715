"""The table that Evaluate Dub shows."""

from personatalk_core.evaluation.metrics.dub_comparison import score_table
from personatalk_core.evaluation.metrics.table import METRICS


def test_one_line_a_metric_and_a_gap_where_one_video_has_none():
    rows = {"dub": {"metrics": {"sync_r": 0.7126, "seam": 2.0}}, "source": {"metrics": {"sync_r": 0.81}}}
    lines = score_table(rows).splitlines()
    assert lines[0].startswith("| | dub | source |") and len(lines) == 4
    assert "| 0.713 | 0.810 |" in next(line for line in lines if METRICS["sync_r"].title + " |" in line)
    assert "| 2.000 |  |" in lines[3] and METRICS["seam"].meaning in lines[3]
