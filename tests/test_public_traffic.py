"""What a library user is shown of load runs as it is written."""

from __future__ import annotations

import doctest

import pytest

pytest.importorskip("numba")

import llmsizer
import llmsizer.traffic


def test_the_example_in_the_docstring_runs() -> None:
    tried = doctest.testmod(llmsizer.traffic)
    assert (tried.failed, tried.attempted > 8) == (0, True)


def test_everything_that_the_example_uses_is_public() -> None:
    names = {"Fleet", "Goal", "Replica", "Site", "Stream", "largest_rate", "losses", "outages", "replica_of", "serve",
             "simulate", "stream_of"}  # fmt: skip
    assert names <= set(llmsizer.__all__)
    assert all(getattr(llmsizer, name).__doc__ for name in names)
