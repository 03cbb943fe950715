"""Chatter goes, everything else stays."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from personatalk_core.tracking.landmarks import without_native_chatter

CHATTER = (
    b"W0000 00:00:1795363659.542332   11604 inference_runner_litert.cc:1418] Input tensor memory is not "
    b"aligned\n"
    b"INFO: [environment.cc:36] Creating LiteRT environment with options\n"
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    b"WARNING: Logging before InitGoogle() is written to STDERR\n"
)


def test_only_chatter_is_dropped(capfd):
    with without_native_chatter():
        os.write(2, CHATTER)
        print("something of our own", file=sys.stderr)
        os.write(2, b"another library's line\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "something of our own\nanother library's line\nafter\n"


def test_an_exception_passes_and_the_descriptor_is_restored(capfd):
    try:
        with without_native_chatter():
            os.write(2, b"kept\n")
            raise KeyError("x")
    except KeyError:
        pass
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "kept\nafter\n"


def test_it_works_without_a_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with without_native_chatter():
        done = True
    assert done


def test_two_threads_do_not_lose_the_descriptor(capfd):
    """Redirections that overlap would restore each other's file instead of the terminal."""
    inside = threading.Barrier(2, timeout=0.2)

    def work() -> None:
        with without_native_chatter(), contextlib.suppress(threading.BrokenBarrierError):
            inside.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
