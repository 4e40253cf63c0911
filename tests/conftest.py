"""What holds for every test: properties are tested on the same draws each time, however busy the machine is."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The suite says whether this code holds, so nothing but code changes what it says. New draws are searched for on
    # purpose, and longer than a suite may take: pytest --hypothesis-profile=search --hypothesis-seed=7
    busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("suite", busy, derandomize=True, database=None)
    settings.register_profile("search", busy, max_examples=2_000, print_blob=True)
    settings.load_profile("suite")
