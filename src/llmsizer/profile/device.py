"""What this machine is: name, cores, memory, and a short microbenchmark, since a CPU has no data sheet here.

``python -m llmsizer.profile.device`` prints the record as JSON; the profiler runs it so, in a process of its own.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import MeasurementError, MissingExtraError
from llmsizer.facts.records import DeviceRecord
from llmsizer.installed import optional

COPY_BYTES = 256 * 2**20  # far beyond the last-level cache
GEMM_SIZE = 1536
REPEATS = 5
INTERESTING_ISA = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "sve",
)
TIMEOUT_SECONDS = 120


def describe_device() -> DeviceRecord:
    """Measure in a fresh process, so that neither its threads nor its memory stay here."""
    command = [sys.executable, "-m", "llmsizer.profile.device"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"the device could not be described: {error}") from None
    return DeviceRecord.model_validate_json(done.stdout.splitlines()[-1])


def same_device(stored: Iterable[DeviceRecord]) -> DeviceRecord | None:
    """The last stored record of this very CPU, so that a resumed sweep measures against the device it began with."""
    if Path("/dev/nvidia0").exists():
        return None  # a GPU is named by its driver, which describe_device asks
    identity = _cpu_identity()
    found = [device for device in stored if (device.name, device.cores, device.memory_bytes) == identity]
    return found[-1] if found else None


def _cpu_identity() -> tuple[str, int, float]:
    name = _cpu_info().get("model name") or platform.processor() or platform.machine()
    return name, available_cores(), float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def measure_device() -> DeviceRecord:
    """The GPU where torch sees one, else this CPU."""
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        return _gpu(torch)
    name, cores, memory_bytes = _cpu_identity()
    flags = _cpu_info().get("flags", "").split()
    return DeviceRecord(
        name=name,
        kind="cpu",
        cores=cores,
        memory_bytes=memory_bytes,
        copy_bytes_per_second=_copy_rate(cores),
        read_bytes_per_second=_read_rate(cores),
        gemm_flops_per_second=_cpu_gemm_rates(torch),
        operating_system=platform.platform(),
        instruction_sets=tuple(isa for isa in INTERESTING_ISA if isa in flags),
        measured_at=_now(),
    )


def available_cores() -> int:
    """Cores this process may use, which a container or taskset makes fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_rate(work: Callable[[], object], amount: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Amount per second in the fastest of a few runs after a first one: noise only ever slows down."""
    work()
    times: list[float] = []
    for _ in range(REPEATS):
        start = clock()
        work()
        times.append(clock() - start)
    return amount / min(times)


def _copy_rate(cores: int) -> float:
    """Bytes read plus bytes written per second, all cores copying."""
    count = COPY_BYTES // 8 // cores
    sources = [np.ones(count) for _ in range(cores)]
    targets = [np.empty(count) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        return best_rate(lambda: list(pool.map(np.copyto, targets, sources)), 2.0 * count * 8 * cores)


def _read_rate(cores: int) -> float:
    """Bytes read per second, all cores summing: the limit of decoding, which reads every weight once a step."""
    count = COPY_BYTES // 4 // cores
    sources = [np.ones(count, dtype=np.float32) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        return best_rate(lambda: list(pool.map(np.dot, sources, sources)), 4.0 * count * cores)


def _cpu_gemm_rates(torch: Any) -> dict[str, float]:
    flops = 2.0 * GEMM_SIZE**3
    matrix = np.ones((GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    rates = {"fp32": best_rate(lambda: matrix @ matrix, flops)}
    if torch is not None:
        narrow = torch.ones(GEMM_SIZE, GEMM_SIZE, dtype=torch.bfloat16)
        rates["bf16"] = best_rate(lambda: narrow @ narrow, flops)
    return rates


def _gpu(torch: Any) -> DeviceRecord:
    properties = torch.cuda.get_device_properties(0)
    source = torch.ones(2**28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    size = 8192

    def waited(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    def gemm_rate(dtype: Any) -> float:
        matrix = torch.ones(size, size, dtype=dtype, device="cuda")
        return best_rate(waited(lambda: matrix @ matrix), 2.0 * size**3)

    return DeviceRecord(
        name=properties.name,
        kind="gpu",
        cores=properties.multi_processor_count,
        memory_bytes=float(properties.total_memory),
        copy_bytes_per_second=best_rate(waited(lambda: target.copy_(source)), 2.0 * source.numel() * 4),
        gemm_flops_per_second={"fp16": gemm_rate(torch.float16), "bf16": gemm_rate(torch.bfloat16)},
        driver=f"CUDA {torch.version.cuda}",
        operating_system=platform.platform(),
        measured_at=_now(),
    )


def _torch() -> Any:
    try:
        return optional("torch", what="the rate of 16-bit products", extra="quantize")
    except MissingExtraError:
        return None


def _cpu_info() -> dict[str, str]:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first = file.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.stdout.write(measure_device().model_dump_json() + "\n")
