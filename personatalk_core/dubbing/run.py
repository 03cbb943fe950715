"""What the stages of one run share: models, options, progress, and a cache of what is finished already."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import DubOptions
from ..errors import MediaError
from ..geometry.geometry_file import load_geometry, save_geometry
from ..media.audio_stream import AudioStream, SpeechSamples, write_speech
from ..media.video_reader import probe
from ..models import Models
from ..types import FaceGeometry, StyleEmbedding, VideoInfo
from ..weights.checkpoint import sha256_of
from .progress import Progress
from .run_cache import RunCache, cache_beside, identity_of, run_inputs

VIDEO_FORMATS = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class OutputFiles:
    """What a run writes, and where it keeps unfinished work.

    video:  .mp4, .mov or .mkv; it appears only when it is complete.
    mask:   a video of the changed pixels, or None.
    work:   folder for finished windows until the output is complete; None: a hidden one beside it.
    resume: leave finished windows there when something goes wrong; the same call then goes on from them.
    window: frames of work that are finished and kept together; None: what suits each stage. Few let a short
        clip stand for a long one.
    """

    video: Path
    mask: Path | None = None
    work: Path | None = None
    resume: bool = True
    window: int | None = None

    @classmethod
    def of(cls, out: OutputFiles | Path | str) -> OutputFiles:
        """The same, or the outputs of a call that names the video only."""
        return out if isinstance(out, OutputFiles) else cls(Path(out))

    def verify(self) -> OutputFiles:
        """Return self, or raise MediaError for a path that cannot work, before any work is done."""
        if self.video.suffix.lower() not in VIDEO_FORMATS:
            raise MediaError(
                f"Output {self.video} ends in '{self.video.suffix}' but expected one of "
                f"{', '.join(VIDEO_FORMATS)}."
            )
        if self.video.is_dir():
            raise MediaError(f"Output {self.video} is a folder but expected a file name.")
        return self


@dataclass(frozen=True, eq=False)
class Run:
    """Handed from stage to stage.

    models:   networks from :func:`personatalk_core.models.load_models`.
    options:  user choices.
    progress: a bar a stage, and warnings.
    cache:    keeps finished windows of work; None keeps nothing.
    warned:   warnings that ``progress`` had when the run began.
    """

    models: Models
    options: DubOptions = field(default_factory=DubOptions)
    progress: Progress = field(default_factory=Progress)
    cache: RunCache | None = None
    warned: int = 0

    @contextmanager
    def caching(self, verb: str, out: OutputFiles, **inputs: str | None) -> Iterator[tuple[Run, RunCache]]:
        """The same run with a cache beside its output, and that cache, which belongs to the verb and to
        everything that the output's bytes depend on.

        Args:
            inputs: sha256 of each input of this verb, None where it has none.
        Raises:
            CacheLockedError: another run writes the same output.  MediaError: the folder cannot be written.
        """
        key = run_inputs(
            verb, out.video, self.models, self.options, mask=out.mask and out.mask.suffix, **inputs
        )
        if out.window is not None:
            key["window"] = out.window
        with cache_beside(out.video, key, folder=out.work, keep=out.resume) as cache:
            cache.window = out.window
            yield replace(self, cache=cache, warned=len(self.progress.warnings)), cache

    def new_warnings(self) -> list[str]:
        """What this run's stages warned of so far, and what its cache has to say."""
        return [*self.progress.warnings[self.warned :], *(self.cache.remarks if self.cache else ())]

    def cached_geometry(self, name: str, make: Callable[[], FaceGeometry]) -> FaceGeometry:
        """Geometry that an earlier run kept under a name, else made now and kept."""
        if self.cache is None:
            return make()
        path = self.cache.path(f"{name}.safetensors")
        if path.is_file():
            return load_geometry(path, self.models.face_model)
        geometry = make()
        save_geometry(path, geometry)
        return geometry


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


@dataclass(frozen=True, eq=False)
class Dubbing:
    """One dub's inputs and outputs, checked and opened. run: with its cache.  clip: the source video.
    speech: what the speech stages hear, decoded to a file in the cache.  out: what is written."""

    run: Run
    clip: VideoInfo
    speech: SpeechSamples
    out: OutputFiles

    @staticmethod
    @contextmanager
    def open(
        video: Path | str,
        audio: Path | str,
        out: OutputFiles | Path | str,
        run: Run,
        style: StyleEmbedding | None = None,
    ) -> Iterator[Dubbing]:
        """Probe both inputs and lock the output's cache; bad sound is refused before the long work.

        Raises:
            MediaError: an input cannot be read or the output cannot be written.
        """
        files = OutputFiles.of(out).verify()
        clip, sound = probe(Path(video)), AudioStream(Path(audio))
        inputs = {"video": clip.sha256, "audio": sha256_of(sound.path), "style": identity_of(style)}
        with run.caching("dub", files, **inputs) as (cached, cache):
            speech = write_speech(sound, cache.path("speech.f32"))
            yield Dubbing(cached, clip, speech, files)
