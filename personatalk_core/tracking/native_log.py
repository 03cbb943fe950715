"""Keep MediaPipe's C++ start-up chatter off the terminal. Knows nothing of faces."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# "W0000 00:00:1795363659.5 11604 file.cc:14] ...", "INFO: [file.cc:36] ...", "INFO: Created TensorFlow Lite ...",
# "WARNING: Logging before InitGoogle() ..."
CHATTER = re.compile(
    rb"^([IWE]\d{4} \d\d:\d\d:|(INFO|WARNING|VERBOSE): (\[\w+\.cc:\d+\]|Created TensorFlow|Logging before|All log messages))"
)


_ONE_AT_A_TIME = threading.RLock()  # the descriptor belongs to the whole process: two overlapping redirections would lose it


@contextlib.contextmanager
def without_native_chatter() -> Iterator[None]:
    """Hold file descriptor 2 while a native library starts, then print what was not its chatter.

    The library writes to the descriptor directly, so Python's sys.stderr cannot filter it. Lines of other
    writers that arrive meanwhile are kept and printed at the end, in order.
    """
    with _ONE_AT_A_TIME:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, AttributeError, ValueError):  # no standard error at all: nothing to keep quiet
            saved = -1
        if saved < 0:
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                with contextlib.suppress(OSError, AttributeError, ValueError):
                    sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
                held.seek(0)
                kept = b"".join(line for line in held if not CHATTER.match(line))
                if kept:
                    os.write(2, kept)
