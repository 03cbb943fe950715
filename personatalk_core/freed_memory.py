"""Memory that was freed, given back to the system.

The C library keeps what a program frees, in pieces between what is still in use. Over an hour of pictures of all sizes the pieces
grow, though nothing is leaked: 150 MiB were measured within one minute of video.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache


def give_back_freed_memory() -> bool:
    """Give the free pages of the C heap back to the system; takes about a millisecond.

    Returns:
        Whether anything was given back; False where the C library is another than glibc and knows no such call.
    """
    trim = _malloc_trim()
    return trim is not None and trim(0) == 1


@lru_cache(maxsize=1)
def _malloc_trim():
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
