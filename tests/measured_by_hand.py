"""Records made by hand, for what draws them: two operating points of three variants, and what each loses."""

from __future__ import annotations

from llmsizer.facts.records import DeviceRecord, ProfileRecord, QualityRecord

DEVICE = DeviceRecord(
    name="AMD EPYC 7763",
    kind="cpu",
    cores=2,
    memory_bytes=16e9,
    read_bytes_per_second=21e9,
    gemm_flops_per_second={"fp32": 120e9},
    measured_at="2026-07-15",
)
_VARIANTS = {  # variant: disk, TTFT, TPOT, process
    "fp16": (92.4e6, 0.061, 0.0081, 411e6),
    "int8": (48.1e6, 0.055, 0.0058, 372e6),
    "int4": (29.3e6, 0.083, 0.0062, 351e6),
}


def profiles() -> list[ProfileRecord]:
    """Two operating points of three variants, and one that failed."""
    records = [profile(variant, batch) for variant in _VARIANTS for batch in (1, 8)]
    failed = profile("int4", 64).model_copy(
        update={
            "status": "failed",
            "failure": "out of memory",
            "ttft_seconds": None,
            "tpot_seconds": None,
            "output_tokens_per_second": None,
        }
    )
    return [*records, failed]


def profile(variant: str, batch: int) -> ProfileRecord:
    disk, ttft, tpot, process = _VARIANTS[variant]
    slower = 1 + 0.1 * (batch - 1)
    return ProfileRecord(
        record_id=f"{variant}-{batch}",
        model="demo-38m",
        variant=variant,
        precision=variant,
        format="openvino",
        engine="openvino-genai",
        engine_version="2026.1",
        device=DEVICE,
        batch=batch,
        prompt_tokens=256,
        output_tokens=64,
        repeats=7,
        ttft_seconds=ttft * batch,
        ttft_seconds_low=ttft * batch * 0.97,
        ttft_seconds_high=ttft * batch * 1.05,
        tpot_seconds=tpot * slower,
        tpot_seconds_low=tpot * slower * 0.97,
        tpot_seconds_high=tpot * slower * 1.04,
        interval_level=0.98,
        output_tokens_per_second=batch / (tpot * slower),
        weights_bytes_on_disk=disk,
        process_peak_bytes=process,
        unknown={"energy_joules": "this machine offers no energy counter"},
        measured_at="2026-07-15T10:00:00+00:00",
    )


def quality() -> list[QualityRecord]:
    values = {"fp16": (31.42, 1.0, 0.0), "int8": (31.47, 1.0016, 0.0011), "int4": (33.9, 1.079, 0.061)}
    return [
        QualityRecord(
            model="demo-38m",
            variant=variant,
            precision=variant,
            engine="openvino-genai",
            dataset="held-out documentation strings",
            documents=120,
            tokens=40_000,
            perplexity=perplexity,
            perplexity_standard_error=0.62,
            reference="fp16",
            perplexity_ratio=None if variant == "fp16" else ratio,
            perplexity_ratio_low=None if variant == "fp16" else ratio * 0.998,
            perplexity_ratio_high=None if variant == "fp16" else ratio * 1.002,
            kl_nats_per_token=None if variant == "fp16" else kl,
            kl_nats_per_token_low=None if variant == "fp16" else kl * 0.9,
            kl_nats_per_token_high=None if variant == "fp16" else kl * 1.1,
            top1_agreement=None if variant == "fp16" else 1 - 2 * kl,
            top1_agreement_low=None if variant == "fp16" else 1 - 2.2 * kl,
            top1_agreement_high=None if variant == "fp16" else 1 - 1.8 * kl,
            bits_per_weight={"fp16": 16.0, "int8": 8.2, "int4": 4.9}[variant],
            weights_bytes=_VARIANTS[variant][0],
            interval_level=0.95,
            measured_at="2026-07-15",
        )
        for variant, (perplexity, ratio, kl) in values.items()
    ]
