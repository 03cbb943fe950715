"""The boxes of an MP4 or QuickTime file: find them, append one, and put one into the video's sample
description.

Nothing is held in memory but the index (``moov``); sound and picture are copied in pieces.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
VIDEO_ENTRY_HEADER = 86  # bytes of a visual sample entry before its own boxes, box header included
MAX_INDEX = 1 << 30  # bytes of moov that are read at most


@dataclass(frozen=True)
class Box:
    """Where a box lies. start and end: bytes from the beginning; body: first byte after the header."""

    kind: bytes
    start: int
    body: int
    end: int


def boxes(stream: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets, in order; stops at the first that makes no sense."""
    while start + 8 <= end:
        stream.seek(start)
        size, kind = struct.unpack(">I4s", stream.read(8))
        body = start + 8
        if size == 1:
            wide = stream.read(8)
            if len(wide) < 8:
                return
            size, body = struct.unpack(">Q", wide)[0], start + 16
        elif size == 0:
            size = end - start
        if size < body - start or start + size > end:
            return
        yield Box(kind, start, body, start + size)
        start += size


def file_boxes(stream: BinaryIO) -> list[Box]:
    """The top level boxes of a file; empty if it does not begin with one that an MP4 begins with."""
    length = stream.seek(0, os.SEEK_END)
    found = list(boxes(stream, 0, length))
    return (
        found
        if found and found[0].kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
        else []
    )


def append_uuid(path: Path, identity: bytes, content: bytes) -> None:
    """Append a ``uuid`` box: readers skip it, and no offset in the file changes."""
    with Path(path).open("ab") as stream:
        stream.write(struct.pack(">I4s16s", 24 + len(content), b"uuid", identity) + content)


def set_clean_aperture(path: Path, width: int, height: int) -> None:
    """Show only the top left ``width`` x ``height`` pixels of the (even-sized) coded picture: a ``clap`` box.

    H.264 with 4:2:0 chroma has even sizes only, so an odd size is coded with one more column or row and cut
    by this box.
    """
    path = Path(path)
    with path.open("rb") as stream:
        top = file_boxes(stream)
        moov = next(b for b in top if b.kind == b"moov")
        stream.seek(moov.start)
        index = bytearray(stream.read(min(moov.end - moov.start, MAX_INDEX)))
        media = min(b.start for b in top if b.kind == b"mdat")
    grown = _insert_clap(index, width, height)
    if moov.start < media:
        _shift_chunks(grown, len(grown) - len(index))
    part = path.with_name(path.name + ".part")
    try:
        with path.open("rb") as source, part.open("wb") as target:
            _copy(source, target, 0, moov.start)
            target.write(grown)
            _copy(source, target, moov.end, top[-1].end)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def clean_aperture(path: Path) -> tuple[int, int, int, int] | None:
    """What the first video track's ``clap`` box leaves of the coded picture: left, top, right, bottom in
    whole pixels.

    None where there is no box, it cuts nothing, or it makes no sense.
    """
    with Path(path).open("rb") as stream:
        moov = next((b for b in file_boxes(stream) if b.kind == b"moov"), None)
        entry = None if moov is None else (_path_to_entry(stream, moov) or [None])[-1]
        if entry is None or entry.end - entry.start < VIDEO_ENTRY_HEADER:
            return None
        clap = next(
            (b for b in boxes(stream, entry.start + VIDEO_ENTRY_HEADER, entry.end) if b.kind == b"clap"), None
        )
        if clap is None or clap.end - clap.body < 32:
            return None
        stream.seek(entry.start + 32)
        coded = struct.unpack(">HH", stream.read(4))
        stream.seek(clap.body)
        numbers = struct.unpack(">8i", stream.read(32))
    if any(denominator <= 0 for denominator in numbers[1::2]):
        return None
    clean = [numbers[0] / numbers[1], numbers[2] / numbers[3]]
    offset = [numbers[4] / numbers[5], numbers[6] / numbers[7]]
    left, top = (
        round((size - visible) / 2 + shift) for size, visible, shift in zip(coded, clean, offset, strict=True)
    )
    right, bottom = left + round(clean[0]), top + round(clean[1])
    inside = 0 <= left < right <= coded[0] and 0 <= top < bottom <= coded[1]
    cuts = (left, top, right, bottom) != (0, 0, *coded)
    return (left, top, right, bottom) if inside and cuts else None


def _insert_clap(index: bytearray, width: int, height: int) -> bytearray:
    """A copy of moov with the box at the end of the first video sample entry; the boxes around it grow."""
    stream = io.BytesIO(index)
    path = _path_to_entry(stream, next(boxes(stream, 0, len(index))))
    entry = path[-1]
    coded_width, coded_height = struct.unpack_from(">HH", index, entry.start + 32)
    # the offset of the clean centre from the coded centre, in halves of a pixel
    fractions = (width, 1, height, 1, width - coded_width, 2, height - coded_height, 2)
    clap = struct.pack(">I4s8i", 40, b"clap", *fractions)
    grown = index[: entry.end] + clap + index[entry.end :]
    for box in path:
        struct.pack_into(">I", grown, box.start, box.end - box.start + len(clap))
    return grown


def _path_to_entry(stream: BinaryIO, moov: Box) -> list[Box]:
    """moov, trak, mdia, minf, stbl, stsd and the sample entry of the first video track; empty if there is
    none."""
    for trak in (b for b in boxes(stream, moov.body, moov.end) if b.kind == b"trak"):
        path = [moov, trak]
        for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
            inner = next((b for b in boxes(stream, path[-1].body, path[-1].end) if b.kind == kind), None)
            if inner is None:
                break
            path.append(inner)
            if kind == b"mdia" and not any(
                _is_video_handler(stream, b) for b in boxes(stream, inner.body, inner.end)
            ):
                break
        else:
            entry = next(boxes(stream, path[-1].body + 8, path[-1].end), None)
            if entry is not None:
                return [*path, entry]
    return []


def _is_video_handler(stream: BinaryIO, box: Box) -> bool:
    if box.kind != b"hdlr":
        return False
    stream.seek(box.body + 8)
    return stream.read(4) == b"vide"


def _shift_chunks(index: bytearray, by: int) -> None:
    """Move every chunk offset: the media data moves with the growth of the index before it."""

    stream, waiting = io.BytesIO(index), [(0, len(index))]
    while waiting:
        for box in boxes(stream, *waiting.pop()):
            if box.kind in CONTAINERS:
                waiting.append((box.body, box.end))
            elif box.kind in (b"stco", b"co64"):
                (count,) = struct.unpack_from(">I", index, box.body + 4)
                form = f">{count}{'I' if box.kind == b'stco' else 'Q'}"
                offsets = struct.unpack_from(form, index, box.body + 8)
                struct.pack_into(form, index, box.body + 8, *(offset + by for offset in offsets))


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    left = end - start
    while left > 0:
        piece = source.read(min(left, 1 << 20))
        if not piece:
            return
        target.write(piece)
        left -= len(piece)
