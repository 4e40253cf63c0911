"""Compiled: counting. Histograms, sums and the time series. ``state`` is the one STATE record."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsizer.traffic.simulator.compiled import compiled
from llmsizer.traffic.simulator.layout import BATCH, BUCKETS, BUSY, CONTEXT, E2E, FINISHED, ITL, TPOT, TTFT
from llmsizer.traffic.simulator.percentiles import BINS, HIGHEST_SECONDS, LOWEST_SECONDS, OFFSET, SHIFT


@compiled
def bin_of(seconds: float) -> int:
    """The histogram bin of a duration."""
    if seconds < LOWEST_SECONDS:
        return 0
    if seconds >= HIGHEST_SECONDS:
        return BINS - 1
    return int((np.float64(seconds).view(np.int64) >> SHIFT) - OFFSET)


@compiled
def count_gaps(state: Any, first: float, growth: float, steps: int, batch: int) -> None:
    """Count the gaps of a run: ``batch`` in each of its steps, whose duration changes evenly from ``first`` on."""
    last = first + growth * (steps - 1)
    state.gaps += steps * batch
    state.sum_gaps += 0.5 * (first + last) * steps * batch
    low, high = bin_of(first), bin_of(last)
    if low == high:
        state.histograms[ITL, low] += steps * batch
        return
    direction = 1 if high > low else -1
    counted = 0
    for index in range(low, high, direction):
        # The first step whose duration lies beyond this bin.
        edge_bits = np.int64((index + (1 if direction > 0 else 0) + OFFSET) << SHIFT)
        beyond = min(steps, max(counted, int(np.ceil((edge_bits.view(np.float64) - first) / growth))))
        state.histograms[ITL, index] += (beyond - counted) * batch
        counted = beyond
    state.histograms[ITL, high] += (steps - counted) * batch


@compiled
def bucket_of(state: Any, time: float) -> int:
    """The row of the time series that a moment falls into."""
    since = time - state.measure_from
    if since < 0.0:
        return 0
    return int(min(since * state.buckets_per_second, float(BUCKETS))) + 1


@compiled
def add_interval(state: Any, row: int, seconds: float, batch: float, context: float) -> None:
    """Add a busy stretch to one row."""
    state.series[row, BUSY] += seconds
    state.series[row, BATCH] += seconds * batch
    state.series[row, CONTEXT] += seconds * context


@compiled
def count_busy(state: Any, start: float, end: float, batch: float, context: float) -> None:
    """Add a busy stretch to the time series, cut at the borders of its rows."""
    row, last = bucket_of(state, start), bucket_of(state, end)
    while row < last:
        border = max(state.measure_from + row / state.buckets_per_second, start)
        add_interval(state, row, border - start, batch, context)
        start = border
        row += 1
    add_interval(state, row, end - start, batch, context)


@compiled
def count_finished(state: Any, arrival: float, first_token: float, end: float, output_tokens: int) -> None:
    """Count one finished request."""
    state.finished += 1
    state.finished_tokens += output_tokens
    state.series[bucket_of(state, end), FINISHED] += 1.0
    if arrival < state.measure_from:
        return
    ttft = first_token - arrival + state.frontend_seconds
    e2e = end - arrival + state.frontend_seconds
    tpot = 0.0
    state.measured += 1
    state.sum_ttft += ttft
    state.sum_e2e += e2e
    state.histograms[TTFT, bin_of(ttft)] += 1
    state.histograms[E2E, bin_of(e2e)] += 1
    if output_tokens > 1:
        tpot = (end - first_token) / (output_tokens - 1)
        state.sum_tpot += tpot
        state.histograms[TPOT, bin_of(tpot)] += 1
    if ttft <= state.slo_ttft and tpot <= state.slo_tpot and e2e <= state.slo_e2e:
        state.good += 1
