"""(a) What the machine is: copy bandwidth, product rates by format, kernels at decode shapes, what its driver tells."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import campaign

from llmsizer.installed import optional
from llmsizer.profile.device import describe_device
from llmsizer.profile.engines.weight_only import packed_linear
from llmsizer.profile.trackers.sensor import find_sensor

REPEATS = 20
SHAPES_22B = {"qkv": (8192, 6144), "gate and up": (32768, 6144), "down": (6144, 16384)}  # outputs, inputs
ROWS = (1, 4, 16, 64)
PRODUCTS = ("fp16", "bf16", "fp32", "fp8", "int8")
KERNELS = ("bf16", "int8-wo", "int8-wo compiled", "int8 packed op", "int8-w8a8", "int8-w8a8 compiled", "int4-wo")
WHAT = "the GPU campaign"


def seconds_of(work: Callable[[], Any], torch: Any) -> float:
    """Median device time of one call, by events on a GPU and by the wall on a CPU, after a few to warm up."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        if torch.cuda.is_available():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return sorted(times)[REPEATS // 2]


def copy_rate(torch: Any, device: str, dry_run: bool) -> dict[str, Any]:
    """Bytes read plus bytes written, over buffers far beyond any cache."""
    source = torch.randn(2**20 if dry_run else 2**30, device=device)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), torch)
    return {"bytes_per_second": 2.0 * source.numel() * 4 / seconds, "bytes": source.numel() * 4}


def product_rate(torch: Any, device: str, format: str, size: int) -> dict[str, Any]:
    """FLOPs per second of a square product on random data, which draws more power than zeros."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.float32) for _ in range(2))
    if format == "int8":
        left, right = (x.mul(30).to(torch.int8) for x in (a, b))
        seconds = seconds_of(lambda: torch._int_mm(left, right.t()), torch)
    elif format == "fp8":
        left, right = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()
        one = torch.tensor(1.0, device=device)
        work = partial(torch._scaled_mm, left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
        seconds = seconds_of(work, torch)
    else:
        kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[format]
        x, y = a.to(kind), b.to(kind)
        seconds = seconds_of(lambda: x @ y, torch)
    return {"flops_per_second": 2.0 * size**3 / seconds, "size": size, "format": format}


def kernel_time(torch: Any, device: str, kernel: str, shape: tuple[int, int], rows: int) -> dict[str, Any]:
    """One linear layer at a decode shape: its time, and the bytes of its weights over it."""
    outputs, inputs = shape
    layer = torch.nn.Linear(inputs, outputs, bias=False, dtype=torch.bfloat16, device=device)
    scheme = kernel.split(" ")[0]
    bits = {"bf16": 16, "int4-wo": 4}.get(scheme, 8)
    x = torch.randn(rows, inputs, dtype=torch.bfloat16, device=device)
    if kernel == "int8 packed op":
        codes = layer.weight.detach().mul(100).to(torch.int8)
        scales = torch.ones(outputs, dtype=torch.bfloat16, device=device)
        work: Callable[[], Any] = partial(torch.ops.aten._weight_int8pack_mm, x, codes, scales)
    else:
        ready: Any = layer if scheme == "bf16" else packed_linear("layer", layer, scheme)  # type: ignore[arg-type]
        if kernel.endswith("compiled"):
            ready = torch.compile(ready, dynamic=False, options={"coordinate_descent_tuning": True})
        work = partial(ready, x)
    with torch.no_grad():
        seconds = seconds_of(work, torch)
    weight_bytes = outputs * inputs * bits / 8
    return {"step_seconds": seconds, "weight_bytes_per_second": weight_bytes / seconds, "rows": rows, "kernel": kernel}


def driver(seconds: float) -> dict[str, Any]:
    """What NVML tells here, and how often its energy counter moves."""
    sensor = find_sensor()
    if sensor is None:
        return {"sensor": None, "reason": "no library or driver of a vendor answered"}
    moves, last, start = 0, sensor.counter_joules(), time.perf_counter()
    while time.perf_counter() - start < seconds and last is not None:
        now = sensor.counter_joules()
        moves, last = moves + int(now != last), now
    reading = sensor.read(0.0)
    return {
        "sensor": type(sensor).__name__,
        "counter_joules": last,
        "counter_moves_per_second": moves / seconds,
        "reading": {n: getattr(reading, n) for n in reading.__dataclass_fields__},
        "power_limit_watts": sensor.power_limit_watts(),
        "used_bytes": sensor.used_bytes(),
        "foreign_processes": sensor.foreign_processes(()),
    }


def parts(at: campaign.Stage, torch: Any) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    yield "device", lambda: {"device": describe_device().model_dump(), "python": platform.python_version()}
    yield "driver", partial(driver, 0.05 if at.dry_run else 3.0)
    yield "copy", partial(copy_rate, torch, device, at.dry_run)
    for format in PRODUCTS[:2] if at.dry_run else PRODUCTS:
        yield f"product {format}", partial(product_rate, torch, device, format, 64 if at.dry_run else 8192)
    shapes = {"toy": (256, 256)} if at.dry_run else SHAPES_22B
    kernels = ("bf16", "int8-wo", "int4-wo") if at.dry_run else KERNELS
    for kernel in kernels:
        for name, shape in shapes.items():
            for rows in ROWS[:2] if at.dry_run else ROWS:
                yield f"kernel {kernel}, {name}, {rows}", partial(kernel_time, torch, device, kernel, shape, rows)


def run(arguments: list[str] | None = None) -> None:
    at = campaign.stage("machine", campaign.parser(__doc__ or "").parse_args(arguments))
    at.run(parts(at, optional("torch", what=WHAT, extra="profile")), seconds_each=10.0)


if __name__ == "__main__":
    campaign.main(run)
