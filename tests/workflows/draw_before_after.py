"""Draws web/docs/images/before_after.webp, the moving picture of the README: the sample person, and the same
frames after the demo's dub.

usage: python tests/workflows/draw_before_after.py [FOLDER that `personatalk demo --out-dir FOLDER` wrote]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "web" / "docs" / "images" / "before_after.webp"
SIDE, GAP, BAR = 350, 8, 26  # pixels of a video, between the two, of the labels above them
SECONDS, FPS = 3.0, 15
QUALITY = 62  # of WebP; about 0.6 MB in all


def frames_of(path: Path) -> list[np.ndarray]:
    """Every frame of a video, (H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def side_by_side(source: np.ndarray, dubbed: np.ndarray) -> Image.Image:
    """One picture of the two, each with its label above."""
    picture = Image.new("RGB", (2 * SIDE + GAP, SIDE + BAR), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    for left, name, frame in ((0, "source", source), (SIDE + GAP, "dubbed", dubbed)):
        picture.paste(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, BAR))
        draw.text((left + SIDE / 2, BAR / 2), name, fill="black", font=font, anchor="mm")
    return picture


def draw(folder: Path) -> None:
    """Write the moving picture from the demo's two videos in ``folder``."""
    source, dubbed = frames_of(folder / "demo_source.mp4"), frames_of(folder / "demo.mp4")
    there_and_back = source + source[-2:0:-1]  # the demo's length mode is bounce
    count = min(round(SECONDS * FPS), len(dubbed))
    pictures = [side_by_side(there_and_back[i % len(there_and_back)], dubbed[i]) for i in range(count)]
    pictures[0].save(
        TARGET,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / FPS),
        loop=0,
        quality=QUALITY,
        method=6,
    )
    print(f"{TARGET.relative_to(ROOT)}: {count} frames, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            demo = [sys.executable, "-m", "personatalk_core", "demo", "--out-dir", name]
            subprocess.run(demo, cwd=ROOT, check=True)
            draw(Path(name))
