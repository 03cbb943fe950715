"""Sound as the stages take it: decoded once for hearing, found again for the output."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MediaError
from ..media.audio_stream import AudioStream, SpeechSamples, write_speech
from ..types import FaceGeometry
from ..weights.checkpoint import sha256_of


@contextmanager
def decoded_speech(speech: Path | str | SpeechSamples) -> Iterator[SpeechSamples]:
    """16 kHz mono samples of a sound file, on disk while they are needed (the sound of an hour is a file,
    too); samples that were decoded already as they are.

    Raises:
        MediaError: the file cannot be read or has no sound.
    """
    if isinstance(speech, SpeechSamples):
        yield speech
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_speech(AudioStream(Path(speech)), Path(folder) / "speech.f32")


def sound_of(target: FaceGeometry) -> AudioStream | None:
    """The sound file that a geometry was animated by, None where it was not.

    Raises:
        MediaError: the file has moved or changed since.
    """
    path, digest = target.audio
    if not path:
        return None
    if not Path(path).is_file():
        raise MediaError(
            f"The speech {path} that the geometry was made from is gone; pass the sound with --audio."
        )
    if sha256_of(Path(path)) != digest:
        raise MediaError(
            f"The speech {path} has changed since the geometry was made from it; run animate again or pass "
            "the sound with --audio."
        )
    return AudioStream(Path(path))
