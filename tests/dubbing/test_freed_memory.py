import sys

import numpy as np
import pytest

from personatalk_core.dubbing.run_cache import RunCache, give_back_freed_memory


def resident_mib() -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def scattered(count: int = 4000) -> list[np.ndarray]:
    """Arrays of 60 KB, of which all but every 40th are freed again: the C library keeps the room between
    them."""
    arrays = [np.ones(15_000, np.float32) for _ in range(count)]
    return arrays[::40]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc gives memory back on demand")
def test_room_between_what_lives_is_given_back():
    living = scattered()
    before = resident_mib()
    if not give_back_freed_memory():
        pytest.skip("this C library has no malloc_trim")
    assert resident_mib() < before - 100  # of 229 MiB
    assert all(array.sum() == 15_000 for array in living)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc gives memory back on demand")
def test_every_window_kept_gives_back_what_it_freed(tmp_path):
    if not give_back_freed_memory():
        pytest.skip("this C library has no malloc_trim")
    with RunCache(tmp_path / "work", {"input": 1}) as cache:
        living = scattered()
        before = resident_mib()
        cache.save("window", {})
        assert resident_mib() < before - 100
    assert len(living) == 100


def test_other_systems_are_left_alone(monkeypatch):
    from personatalk_core.dubbing import run_cache as freed_memory

    freed_memory._malloc_trim.cache_clear()
    monkeypatch.setattr(sys, "platform", "win32")
    try:
        assert give_back_freed_memory() is False
    finally:
        freed_memory._malloc_trim.cache_clear()
