"""ONNX files: read for computing by OpenCV, and the names of their inputs, which OpenCV does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from ...errors import WeightsError

GRAPH, GRAPH_INPUT, GRAPH_INITIALIZER = 7, 11, 5  # field numbers of onnx.proto
INPUT_NAME, TENSOR_NAME = 1, 8
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


def read_onnx(path: Path) -> cv2.dnn.Net:
    """Load a network. Raises WeightsError when the file is missing or OpenCV cannot read it."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; expected a network in ONNX format there.")
    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise WeightsError(
            f"{path} cannot be read as ONNX ({str(error).strip()[:120]}); export the network again."
        ) from error


def onnx_inputs(path: Path) -> list[str]:
    """Names of what a network takes, in its own order; stored parameters are no inputs. Raises WeightsError:
    not ONNX."""
    try:
        graph = next(value for field, value in _fields(Path(path).read_bytes()) if field == GRAPH)
        parts = list(_fields(graph))
        stored = {_name(value, TENSOR_NAME) for field, value in parts if field == GRAPH_INITIALIZER}
        return [
            name
            for field, value in parts
            if field == GRAPH_INPUT and (name := _name(value, INPUT_NAME)) not in stored
        ]
    except (StopIteration, IndexError, UnicodeDecodeError, OSError) as error:
        raise WeightsError(
            f"{path} cannot be read as ONNX ({type(error).__name__}); export the network again."
        ) from error


def _name(message: bytes, field: int) -> str:
    return next(value for number, value in _fields(message) if number == field).decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Field number and content of every field of a protocol buffer that holds bytes; numbers are passed
    over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise IndexError("a field ends behind its message")
            yield field, message[at : at + size]
            at += size
        elif kind == VARINT:
            _, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise IndexError(f"wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
