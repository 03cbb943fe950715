"""The quality table as JSON, Markdown and one HTML page with pictures and plots; nothing in it needs a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ..errors import PersonaTalkError
from ..media.video_reader import VideoReader, probe
from ..models import Models
from ..weights.checkpoint import write_atomically
from .metric_table import METRICS

PICTURE_HEIGHT = 160
COLOURS = {"seen": "#c0392b", "source": "#888888", "heard": "#2471a3"}
STYLE = (
    "body{font:14px system-ui,sans-serif;max-width:1300px;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse;"
    "margin:1em 0}td,th{border:1px solid #ccc;padding:3px 8px;text-align:right}th:first-child,td:first-child{text-align:left}"
    "small{color:#666}figure{margin:1em 0}img{max-width:100%}div{overflow-x:auto}svg{background:#fafafa;border:1px solid #ddd}"
)


def write_report(result: dict, out: Path, sources: Mapping[str, Path], models: Models | None = None) -> None:
    """Write quality.json, quality.md and quality.html into ``out``. sources: clip name to source video, for pictures."""
    out = Path(out)
    write_atomically(out / "quality.json", (json.dumps(result, indent=1) + "\n").encode())
    write_atomically(out / "quality.md", (markdown_table(result) + "\n").encode())
    write_atomically(out / "quality.html", html_page(result, sources).encode())


def markdown_table(result: dict) -> str:
    """One line a row, one column a metric, means over clips; then what every column means."""
    names = used_metrics(result)
    lines = ["| | " + " | ".join(_head(n) for n in names) + " |", "|---|" + "---:|" * len(names)]
    for row in result["rows"].values():
        lines.append(f"| {row['title']} | " + " | ".join(_cell(row["mean"], n) for n in names) + " |")
    extent = f", the first {result['frames']} frames of each" if result.get("frames") else ""
    lines += ["", f"Means over {len(result['clips'])} clips{extent}."]
    lines += [""] + [f"- **{METRICS[n].title}**{_unit(n)}: {METRICS[n].meaning}." for n in names]
    if result["left_out"]:
        lines += ["", "Left out: " + "; ".join(f"{name} ({why})" for name, why in result["left_out"].items())]
    return "\n".join(lines)


def html_page(result: dict, sources: Mapping[str, Path]) -> str:
    """A self-contained page: the table, then for every clip the rows' pictures, the openings over time and the lag curves."""
    names = used_metrics(result)
    parts = ["<!doctype html><meta charset='utf-8'><title>PersonaTalk quality</title>", f"<style>{STYLE}</style>", "<h1>Quality</h1>"]
    heads = "".join(f"<th title='{html.escape(METRICS[n].meaning, quote=True)}'>{_head(n)}</th>" for n in names)
    parts.append(f"<div><table><tr><th></th>{heads}</tr>")
    for row in result["rows"].values():
        cells = "".join(f"<td>{_cell(row['mean'], n, error=True)}</td>" for n in names)
        parts.append(f"<tr><td>{html.escape(row['title'])}</td>{cells}</tr>")
    parts.append(f"</table></div><p><small>Means and standard errors over {len(result['clips'])} clips.</small></p>")
    for clip in result["clips"]:
        parts.append(f"<h2>{html.escape(clip)}</h2>")
        for row in result["rows"].values():
            if clip in row["clips"]:
                parts.append(_figure(row["title"], row["clips"][clip], sources.get(clip)))
    return "\n".join(parts)


def used_metrics(result: dict) -> list[str]:
    """Metrics that at least one row has, in the table's order."""
    return [n for n in METRICS if any(n in row["mean"] for row in result["rows"].values())]


def contact_sheet(video: Path, count: int = 8, height: int = PICTURE_HEIGHT) -> np.ndarray:
    """Frames spread over a video, side by side: (height, W, 3) uint8 RGB."""
    info = probe(video)
    index = np.linspace(0, info.frame_count - 1, min(count, info.frame_count)).round().astype(int).tolist()
    width = max(1, round(info.width * height / info.height))
    frames = VideoReader(info).frames(index)
    return np.concatenate([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames], axis=1)


def line_plot(series: Mapping[str, list[float]], x: list[float], title: str, width: int = 620, height: int = 130) -> str:
    """A small SVG of lines that share an x axis; each is scaled to its own range, because only shapes are compared."""
    low, span = min(x), max(max(x) - min(x), 1e-9)
    lines = []
    for k, (name, values) in enumerate(series.items()):
        bottom, top = min(values), max(values)
        scale = max(top - bottom, 1e-9)
        points = " ".join(
            f"{10 + (width - 20) * (a - low) / span:.1f},{height - 12 - (height - 34) * (v - bottom) / scale:.1f}"
            for a, v in zip(x, values, strict=False)
        )
        colour = COLOURS.get(name, "#333")
        lines.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        lines.append(f"<text x='{width - 70 * (k + 1)}' y='14' font-size='11' fill='{colour}'>{html.escape(name)}</text>")
    return f"<svg width='{width}' height='{height}'><text x='10' y='14' font-size='11'>{html.escape(title)}</text>{''.join(lines)}</svg>"


def jpeg_tag(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 RGB as an <img> that carries its own data."""
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f"<img src='data:image/jpeg;base64,{base64.b64encode(data).decode()}'>"


def _figure(title: str, scores: dict, source: Path | None) -> str:
    parts = [f"<figure><figcaption><b>{html.escape(title)}</b></figcaption>"]
    video = Path(scores["file"]) if "file" in scores else source
    if video is not None and video.is_file():
        try:
            parts.append(jpeg_tag(contact_sheet(video)) + "<br>")
        except PersonaTalkError as error:
            parts.append(f"<small>{html.escape(str(error))}</small><br>")
    series = scores["series"]
    parts.append(line_plot(series, [k / 25 for k in range(len(series["seen"]))], "mouth opening over seconds"))
    curve = scores["sync_curve"]
    parts.append(line_plot({"r": curve["r"]}, curve["lags"], f"sync r over lag, best {max(curve['r']):.2f}", 260))
    return "".join(parts) + "</figure>"


def _head(name: str) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(METRICS[name].better, "")
    return METRICS[name].title + arrow


def _unit(name: str) -> str:
    return f" ({METRICS[name].unit})" if METRICS[name].unit else ""


def _cell(mean: Mapping[str, dict], name: str, error: bool = False) -> str:
    if name not in mean:
        return ""
    value = mean[name]["mean"]
    text = f"{value:.2f}" if abs(value) >= 1.995 else f"{value:.3f}"
    entry = mean[name]
    return text + (f" <small>±{entry['error']:.2g}</small>" if error and entry["clips"] > 1 and entry["error"] >= 5e-4 else "")
