"""How many cases: each target states its thousands for ``make fuzz`` (107,000 in all); the suite runs 10 for
each thousand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SHARED = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("suite", max_examples=10, derandomize=True, **SHARED)
settings.register_profile("fuzz", max_examples=1000, print_blob=True, **SHARED)
settings.load_profile("fuzz" if os.environ.get("PERSONATALK_FUZZ") else "suite")
