"""The quality table as JSON, Markdown and one HTML page with pictures and plots; nothing in it needs a
network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

import cv2
import numpy as np
import torch

from ...errors import DependencyError, PersonaTalkError
from ...media.video_reader import VideoReader, probe
from ...weights.checkpoint import write_atomically
from ..metrics.style_map import draw_style_map, tsne
from ..metrics.table import METRICS

PICTURE_HEIGHT = 160
COLOURS = {"seen": "#c0392b", "source": "#888888", "heard": "#2471a3"}
PAPER_TABLES = {  # the paper's columns; where its network is not at hand, the stand-in under its own name
    1: (
        "ssim",
        "psnr",
        "fid",
        "filter_bank_distance",
        "lmd",
        "sync_score",
        "sync_r",
        "lpips",
        "gmsd",
        "csim",
        "shape_similarity",
        "style_sim",
    ),
    4: (
        "lpips",
        "gmsd",
        "psnr_face",
        "psnr_lips",
        "lip_detail_ratio",
        "csim",
        "shape_similarity",
        "style_sim",
    ),
}
TITLES = {1: "Quality, lip sync, persona (paper, Table 1)", 4: "Parts taken away (paper, Table 4)"}
PAGE = Path(__file__).with_name("report.html")  # $content is filled in


def write_table(result: dict, out: Path) -> None:
    """Write quality.json and quality.md into ``out``: after every clip, so that a killed run leaves what it
    has."""
    write_atomically(Path(out) / "quality.json", (json.dumps(result, indent=1) + "\n").encode())
    write_atomically(Path(out) / "quality.md", (markdown_table(result) + "\n").encode())


def write_report(result: dict, out: Path, sources: Mapping[str, Path]) -> None:
    """Write quality.json, quality.md, quality.html and style_map.svg into ``out``. sources: clip name to
    source video, for pictures."""
    out = Path(out)
    try:
        picture = figure_5(result)
    except DependencyError as error:  # the tables are worth having without it
        picture, result["left_out"]["style_map.svg"] = "", str(error)
    write_table(result, out)
    if picture:
        write_atomically(out / "style_map.svg", picture.encode())
    write_atomically(out / "quality.html", html_page(result, sources, picture).encode())


def markdown_table(result: dict) -> str:
    """The paper's Table 1 and Table 4 on these clips, then everything: one line a row, one column a metric,
    means over clips."""
    names = used_metrics(result)
    lines = []
    for number, columns in PAPER_TABLES.items():
        rows = [row for row in result["rows"].values() if belongs(row, number)]
        shown = [n for n in columns if n in names and any(n in row["mean"] for row in rows)]
        if len(rows) > 1 and shown:
            lines += [f"## {TITLES[number]}", "", *_table(rows, shown), ""]
    lines += ["## All metrics", "", *_table(list(result["rows"].values()), names)]
    lines += ["", f"Means over {len(result['clips'])} clips{_extent(result)}."]
    lines += [""] + [f"- **{METRICS[n].title}**{_unit(n)}: {METRICS[n].meaning}." for n in names]
    if result["left_out"]:
        lines += ["", "Left out: " + "; ".join(f"{name} ({why})" for name, why in result["left_out"].items())]
    return "\n".join(lines)


def belongs(row: Mapping, number: int) -> bool:
    """Whether a row is in one of the paper's tables: rows of the own sound; the truth and the dub are in
    both."""
    return row.get("audio", "own") == "own" and (
        row.get("table", 1) == number or row["title"] in ("ground truth", "self-dub")
    )


def _table(rows: list[Mapping], names: list[str]) -> list[str]:
    lines = ["| | " + " | ".join(_head(n) for n in names) + " |", "|---|" + "---:|" * len(names)]
    return lines + [
        f"| {row['title']} | " + " | ".join(_cell(row["mean"], n) for n in names) + " |" for row in rows
    ]


def _extent(result: dict) -> str:
    if result.get("seconds"):
        return f", the first {result['seconds']:g} s of each"
    return f", the first {result['frames']} frames of each" if result.get("frames") else ""


def figure_5(result: dict) -> str:
    """Figure 5 of the paper as an SVG: windows of the clips and of the dubs in their speakers' styles; empty
    where there are too few."""
    vectors, speakers, generated = [], [], []
    for name, is_generated in (("ground_truth", False), ("self_dub", True), ("cross_audio", True)):
        for clip, scores in result["rows"].get(name, {"clips": {}})["clips"].items():
            windows = scores.get("styles", {}).get("output" if is_generated else "source", [])
            vectors += windows
            speakers += [Path(clip).stem.split("__")[0]] * len(windows)
            generated += [is_generated] * len(windows)
    if len(vectors) < 4 or not any(generated):
        return ""
    return draw_style_map(tsne(torch.tensor(vectors)), speakers, generated)


def html_page(result: dict, sources: Mapping[str, Path], picture: str = "") -> str:
    """A self-contained page: the tables, the style map, then every clip's pictures, openings over time and
    lag curves."""
    names = used_metrics(result)
    parts = []
    for number, columns in PAPER_TABLES.items():
        rows = [row for row in result["rows"].values() if belongs(row, number)]
        shown = [n for n in columns if any(n in row["mean"] for row in rows)]
        if len(rows) > 1 and shown:
            parts += [f"<h2>{TITLES[number]}</h2>", _html_table(rows, shown)]
    parts += ["<h2>All metrics</h2>", _html_table(list(result["rows"].values()), names)]
    parts.append(
        f"<p><small>Means and standard errors over {len(result['clips'])} clips{_extent(result)}; "
        "what a column means stands in its head.</small></p>"
    )
    if result["left_out"]:
        items = "".join(
            f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in result["left_out"].items()
        )
        parts.append(f"<p>Left out:</p><ul>{items}</ul>")
    if picture:
        parts += ["<h2>Speaking styles (t-SNE; paper, Figure 5)</h2>", f"<div>{picture}</div>"]
    for clip in result["clips"]:
        parts.append(f"<h2>{html.escape(clip)}</h2>")
        for row in result["rows"].values():
            if clip in row["clips"]:
                parts.append(_figure(row["title"], row["clips"][clip], sources.get(clip)))
    return Template(PAGE.read_text(encoding="utf-8")).substitute(content="\n".join(parts))


def _html_table(rows: list[Mapping], names: list[str]) -> str:
    heads = "".join(
        f"<th title='{html.escape(METRICS[n].meaning, quote=True)}'>{_head(n)}</th>" for n in names
    )
    lines = [f"<div><table><tr><th></th>{heads}</tr>"]
    for row in rows:
        cells = "".join(f"<td>{_cell(row['mean'], n, error=True)}</td>" for n in names)
        lines.append(f"<tr><td>{html.escape(row['title'])}</td>{cells}</tr>")
    return "".join([*lines, "</table></div>"])


def used_metrics(result: dict) -> list[str]:
    """Metrics that at least one row has, in the table's order."""
    return [n for n in METRICS if any(n in row["mean"] for row in result["rows"].values())]


def contact_sheet(video: Path, count: int = 8, height: int = PICTURE_HEIGHT) -> np.ndarray:
    """Frames spread over a video, side by side: (height, W, 3) uint8 RGB."""
    info = probe(video)
    index = np.linspace(0, info.frame_count - 1, min(count, info.frame_count)).round().astype(int).tolist()
    width = max(1, round(info.width * height / info.height))
    frames = VideoReader(info).frames(index)
    return np.concatenate(
        [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames], axis=1
    )


def line_plot(
    series: Mapping[str, list[float]], x: list[float], title: str, width: int = 620, height: int = 130
) -> str:
    """A small SVG of lines that share an x axis; each is scaled to its own range, because only shapes are
    compared."""
    low, span = min(x), max(max(x) - min(x), 1e-9)
    lines = []
    for k, (name, values) in enumerate(series.items()):
        bottom, top = min(values), max(values)
        scale = max(top - bottom, 1e-9)
        points = " ".join(
            f"{10 + (width - 20) * (a - low) / span:.1f},"
            f"{height - 12 - (height - 34) * (v - bottom) / scale:.1f}"
            for a, v in zip(x, values, strict=False)
        )
        colour = COLOURS.get(name, "#333")
        lines.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        lines.append(
            f"<text x='{width - 70 * (k + 1)}' y='14' font-size='11' "
            f"fill='{colour}'>{html.escape(name)}</text>"
        )
    return (
        f"<svg width='{width}' height='{height}'><text x='10' y='14' "
        f"font-size='11'>{html.escape(title)}</text>{''.join(lines)}</svg>"
    )


def jpeg_tag(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 RGB as an <img> that carries its own data."""
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[
        1
    ].tobytes()
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
    parts.append(
        line_plot(series, [k / 25 for k in range(len(series["seen"]))], "mouth opening over seconds")
    )
    curve = scores["sync_curve"]
    parts.append(
        line_plot({"r": curve["r"]}, curve["lags"], f"sync r over lag, best {max(curve['r']):.2f}", 260)
    )
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
    text = (
        f"{value:.2f}"
        if abs(value) >= 1.995
        else f"{value:.3f}"
        if abs(value) >= 0.0995 or value == 0
        else f"{value:.2g}"
    )
    entry = mean[name]
    return text + (
        f" <small>±{entry['error']:.2g}</small>"
        if error and entry["clips"] > 1 and entry["error"] >= 5e-4
        else ""
    )
