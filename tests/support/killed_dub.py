"""A dub in a process of its own that is killed after some seconds, again and again; run by
``test_resume.py``.

Reads lines ``OUT MOMENT [render]`` and answers each with ``done S`` or ``killed``. The moment is in seconds,
``-`` for a run that is left alone (``OUT,OUT`` for several at once), or ``kept`` for one that is killed as
soon as it has kept some work; ``render`` renders geometry that was made before. The models are loaded once;
each run is a fork, with windows so small that a short clip has many.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


def main(video: Path, audio: Path, usual_windows: str | None = None) -> None:
    import torch

    torch.set_num_threads(1)
    from personatalk_core.config import DubOptions
    from personatalk_core.dubbing.run import OutputFiles, Run
    from personatalk_core.dubbing.write_dub import write_dub
    from personatalk_core.geometry.geometry_file import load_geometry, save_geometry
    from personatalk_core.media.video_reader import probe
    from personatalk_core.models import load_models
    from personatalk_core.pipeline import animate, dub, estimate_geometry, render

    window = 4 if usual_windows is None else None
    options = DubOptions(lip_references=3, face_references=1, device="cpu")
    models = load_models(options)

    target = video.with_name("target.safetensors")

    def prepare() -> None:
        save_geometry(
            target,
            animate(estimate_geometry(probe(video), Run(models, options)), audio, Run(models, options)),
        )

    def run(verb: str, out: str) -> object:
        files = OutputFiles(Path(out), window=window)
        if verb == "render":
            geometry = load_geometry(target, models.face_model)
            shared = Run(models, options)
            return write_dub(render(probe(video), geometry, shared), files, shared)
        return dub(video, audio, files, models, options)

    print("ready", flush=True)
    for line in sys.stdin:
        outs, moment, verb = (*line.split(), "dub")[:3]
        if verb == "render" and not target.exists():
            # not in this process: a fork must not inherit decoders, whose threads stay behind
            os.waitpid(fork(prepare), 0)
        started = time.monotonic()
        children = [fork(partial(run, verb, out)) for out in outs.split(",")]
        if moment != "-":
            if moment == "kept":
                wait_for_kept_work(Path(outs))
            else:
                time.sleep(float(moment))
            for child in children:
                os.kill(child, signal.SIGKILL)
        codes = {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
        answers = {0: f"done {time.monotonic() - started}", -signal.SIGKILL: "killed"}
        print(answers.get(codes.pop(), "failed") if len(codes) == 1 else "failed", flush=True)


def wait_for_kept_work(out: Path, limit: float = 120.0) -> None:
    """Return once the working folder beside ``out`` holds a finished file, or after ``limit`` seconds."""
    folder, end = out.with_name(f".{out.name}.personatalk"), time.monotonic() + limit
    while not any(folder.glob("*.safetensors")) and time.monotonic() < end:
        time.sleep(0.005)


def fork(work: Callable[[], object]) -> int:
    """Do some work in a child process; returns its number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:  # a fork must never return to the loop
        print(error, file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
