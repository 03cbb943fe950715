"""``personatalk prepare``: raw videos -> a folder to train from, with a manifest that says what is in it and
what is not.

Paper 4.1: 25 fps, 16 kHz, crops of 256 x 256 by landmarks, a quality filter, a split by speaker.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile

from ... import __version__
from ...compose.crop import crop_boxes, crop_image
from ...config import CROP_SIZE, MODEL_FPS, SAMPLE_RATE
from ...errors import FaceError, MediaError, OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...media.video_reader import VideoReader, probe
from ...media.video_writer import VideoWriter
from ...speech.timeline import frames_to_cover
from ...types import AudioClip, OnProgress, Timeline
from ...weights.checkpoint import sha256_of, write_atomically
from .clip_faults import face_height
from .hold_out import HELD_OUT_SHARE, draw_speakers, frames_by_speaker
from .preparation import MANIFEST, ClipTools, PreparedClip, prepare_clip, read_index, videos_below


def prepare_data(
    data: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    with_silent: bool = False,
    held_out: float = HELD_OUT_SHARE,
    face_model: FaceModel | None = None,
) -> Path:
    """Write ``out``/clips (crops as video with their sound, and the sound as WAV) and ``out``/manifest.json.

    A killed run goes on where it was; a clip whose files are there with the hashes of its record is not made
    again. The manifest lists clips with speaker, split, lag, what the filter measured, and sha256 of source
    and files; and dropped videos with the reason. ``personatalk train PART --data out`` reads it.
    Args:
        data:        folder of videos, searched with its subfolders; an INDEX.tsv may name speakers and lags.
        with_silent: keep clips without usable speech, which teach the renderer and the face model.
        held_out:    share of the speakers kept for validation, drawn as in ``hold_out``.
    Returns:
        the manifest's path.
    Raises:
        OptionsError: there is no video, or every one was dropped.
    """
    data, out, face_model = Path(data), Path(out), face_model or load_face_model()
    videos, index = videos_below(data), read_index(data)
    entries: dict[str, dict] = {}
    dropped: dict[str, str] = {}
    first_name: dict[str, str] = {}
    with ClipTools(face_model) as tools:
        for number, video in enumerate(videos):
            name = video.relative_to(data).as_posix()
            source = sha256_of(video)
            try:
                if source in first_name:
                    raise MediaError(f"the same file as {first_name[source]}.")
                clip = prepare_clip(video, name, out / "cache", tools, index.get(video.resolve(), {}), data)
                if clip.sound_fault and not with_silent:
                    raise MediaError(clip.sound_fault)
                entries[name] = _entry(clip, source, out, face_model)
                first_name[source] = name
            except (FaceError, MediaError) as error:
                dropped[name] = str(error)
            if on_progress is not None:
                on_progress(number + 1, len(videos))
    if not entries:
        name, reason = next(iter(dropped.items()))
        raise OptionsError(f"all {len(videos)} videos in {data} were dropped; {name}: {reason}")
    frames = frames_by_speaker((entry["speaker"], entry["frames"]) for entry in entries.values())
    held = draw_speakers(frames, held_out)
    for entry in entries.values():
        entry["split"] = "validation" if entry["speaker"] in held else "train"
    manifest = {
        "personatalk": __version__,
        "face_model": face_model.sha256,
        "fps": MODEL_FPS,
        "sample_rate": SAMPLE_RATE,
        "crop": CROP_SIZE,
        "clips": entries,
        "dropped": dropped,
    }
    write_atomically(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return out / MANIFEST


def describe(path: Path) -> str:
    """A manifest in a few lines: how much there is, and each dropped video with its reason."""
    manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    clips, dropped = manifest["clips"].values(), manifest["dropped"]
    minutes = sum(c["seconds"] for c in clips) / 60
    lines = [
        f"{path}: {len(clips)} clips of {len({c['speaker'] for c in clips})} speakers, {minutes:.1f} minutes"
    ]
    for split in ("train", "validation"):
        members = [c for c in clips if c["split"] == split]
        lines.append(f"  {split}: {len(members)} clips of {len({c['speaker'] for c in members})} speakers")
    lines.append(f"dropped {len(dropped)} of {len(clips) + len(dropped)} videos" + (":" if dropped else "."))
    return "\n".join(lines + [f"  {name}: {reason}" for name, reason in dropped.items()])


def _entry(clip: PreparedClip, source: str, out: Path, face_model: FaceModel) -> dict:
    """Make a clip's files, or take them from an earlier run, and describe them."""
    stem = f"{Path(clip.name).stem}_{source[:8]}"
    record = out / "cache" / f"{source[:16]}_{face_model.sha256[:8]}.files.json"
    files = _stored(record, out)
    if files is None or (clip.samples is None) != ("sound" not in files):
        video = out / "clips" / f"{stem}.mp4"
        frames = write_crops(clip, video, face_model)
        files = {"frames": frames, "video": _file(video, out)}
        if clip.samples is not None:
            sound = video.with_suffix(".wav")
            wavfile.write(
                str(sound), SAMPLE_RATE, np.round(clip.samples.clip(-1, 1) * 32767).astype(np.int16)
            )
            files["sound"] = _file(sound, out)
        write_atomically(record, json.dumps(files).encode())
    readings = {name: round(value, 3) for name, value in vars(clip.readings).items() if value is not None}
    return {
        "source_sha256": source,
        "speaker": clip.speaker,
        "lag": clip.lag,
        "seconds": round(files["frames"] / MODEL_FPS, 2),
        "frames": files["frames"],
        "face_height": round(face_height(clip.geometry, face_model), 1),
        "readings": readings,
        "video": files["video"],
        "sound": files.get("sound"),
        "sound_fault": clip.sound_fault,
    }


def write_crops(clip: PreparedClip, target: Path, face_model: FaceModel) -> int:
    """Write a clip's face as 256 x 256 crops at 25 fps with its sound at 16 kHz; returns the number of
    frames."""
    geometry = clip.geometry
    ends = geometry.times.double() + geometry.durations.double()
    count = frames_to_cover(geometry.times.double(), geometry.durations.double())
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / MODEL_FPS
    numbers = torch.searchsorted(ends, middles).clamp(max=geometry.frame_count - 1).tolist()
    boxes = crop_boxes(geometry, face_model).box
    timeline = Timeline(np.arange(count), np.arange(count) / MODEL_FPS, np.full(count, 1 / MODEL_FPS))
    sound = None if clip.samples is None else AudioClip(clip.samples[None], SAMPLE_RATE)
    with VideoWriter(target, CROP_SIZE, CROP_SIZE, timeline, audio=sound) as video:
        for number, frame in zip(numbers, VideoReader(probe(clip.path)).frames(numbers), strict=True):
            video.write(crop_image(frame, boxes[number], CROP_SIZE))
    return count


def _file(path: Path, out: Path) -> dict[str, str]:
    return {"file": path.relative_to(out).as_posix(), "sha256": sha256_of(path)}


def _stored(record: Path, out: Path) -> dict | None:
    """The files of an earlier run, or None where one is missing or changed."""
    if not record.is_file():
        return None
    files = json.loads(record.read_text(encoding="utf-8"))
    intact = all(
        (out / f["file"]).is_file() and sha256_of(out / f["file"]) == f["sha256"]
        for f in files.values()
        if isinstance(f, dict)
    )
    return files if intact else None
