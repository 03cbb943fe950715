"""How many cases: a few hundred a target in the suite; ``make fuzz`` runs the profile ``fuzz``, over 100,000 in all."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SHARED = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("suite", max_examples=150, derandomize=True, **SHARED)
settings.register_profile("fuzz", max_examples=10_000, print_blob=True, **SHARED)
settings.load_profile("fuzz" if os.environ.get("PERSONATALK_FUZZ") else "suite")
