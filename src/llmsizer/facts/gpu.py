"""What an accelerator can do by its data sheet: memory, bandwidth, dense arithmetic rates, links, power."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.precision import ComputeFormat
from llmsizer.facts.provenance import Provenance

RateFormat = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]

# CUDA compute capability or vendor tag → architecture family, the class within which efficiencies transfer best.
_FAMILIES = {
    "7.0": "volta",
    "7.5": "turing",
    "8.0": "ampere",
    "8.6": "ampere-gddr",
    "8.9": "ada",
    "9.0": "hopper",
    "10.0": "blackwell",
    "10.3": "blackwell",
    "12.0": "blackwell-gddr",
    "12.1": "blackwell-gddr",
    "gfx90a": "cdna2",
    "gfx942": "cdna3",
    "gfx950": "cdna4",
    "gfx1100": "rdna3",
    "gfx1151": "rdna3",
    "Xe2": "xe2",
    "Metal": "apple",
}


class GpuSpec(BaseModel):
    """One accelerator. Rates are dense (never sparse), per second; a rate the device lacks is absent, not 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    vendor: str
    device_class: str
    memory_bytes: float | None = Field(gt=0)  # what the driver reports where known, else the label read as GiB
    allocatable_bytes: float | None = Field(default=None, gt=0)  # what programs are given of it, where logs show it
    memory_bytes_per_second: float = Field(gt=0)
    flops_per_second: dict[RateFormat, float] = {}  # empty for CPUs: theirs is measured
    provenance: Provenance
    provenance_by_field: dict[str, Provenance] = {}
    memory_type: str = ""
    tdp_watts: float | None = None
    scaleup_link: str = ""
    scaleup_bytes_per_second: float | None = None  # both directions together, per GPU, as data sheets print it
    pcie_gen: int | None = None
    pcie_lanes: int | None = None
    form_factor: str = ""
    release_year: int | None = None
    compute_capability: str = ""
    max_per_node: int = 1
    aliases: tuple[str, ...] = ()
    note: str = ""

    @property
    def family(self) -> str:
        """Architecture family: ``hopper``, ``ampere``, ``cdna3`` …"""
        return _FAMILIES.get(self.compute_capability, f"{self.vendor.lower()}-{self.device_class}")

    @property
    def is_cpu(self) -> bool:
        return self.device_class == "cpu"

    @property
    def flops_16bit_per_second(self) -> float | None:
        """Dense 16-bit rate; falls back on FP32 where the sheet prints no faster 16-bit unit."""
        rates = [r for r in (self.flops_per_second.get("bf16"), self.flops_per_second.get("fp16")) if r]
        return max(rates) if rates else self.flops_per_second.get("fp32")

    def native_flops_per_second(self, compute: ComputeFormat) -> float | None:
        """Dense rate of a compute format, or None where the device has no unit for it."""
        return self.flops_16bit_per_second if compute == "16bit" else self.flops_per_second.get(compute)

    def effective_compute(self, compute: ComputeFormat) -> ComputeFormat:
        """The format the device really multiplies in: FP8 on Ampere runs weight-only in 16 bit."""
        native = self.native_flops_per_second(compute)
        base = self.flops_16bit_per_second or 0.0
        return compute if native is not None and native >= base else "16bit"

    @property
    def peer_bytes_per_second(self) -> float | None:
        """One direction of the GPU-to-GPU path: the scale-up link, else PCIe (0.985 GB/s per Gen-3 lane, doubling)."""
        if self.scaleup_bytes_per_second:
            return self.scaleup_bytes_per_second / 2
        if self.pcie_gen and self.pcie_lanes:
            return 0.985e9 * 2.0 ** (self.pcie_gen - 3) * self.pcie_lanes
        return None
