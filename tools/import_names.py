"""Names as the tables print them → catalogue ids: strict, so that a price is never shown for another thing."""

from __future__ import annotations

from typing import Any

GPU_OF_LISTING = {
    ("A100 SXM 80GB", "80"): "a100-sxm-80",
    ("A100 SXM 40GB", "40"): "a100-sxm-40",
    ("A100 PCIe 80GB", "80"): "a100-pcie-80",
    ("A100 PCIe 40GB", "40"): "a100-pcie-40",
    ("H100 SXM", "80"): "h100-sxm-80",
    ("H100 PCIe", "80"): "h100-pcie-80",
    ("H100 NVL", "94"): "h100-nvl-94",
    ("H200 SXM", "141"): "h200-sxm-141",
    ("B200", "180"): "b200-sxm-180",
    ("B200", "192"): "b200-sxm-180",
    ("B300", "262"): "b300-sxm-288",
    ("B300", "270"): "b300-sxm-288",
    ("B300", "288"): "b300-sxm-288",
    ("GB200", "186"): "gb200-186",
    ("GB300", "288"): "gb300-288",
    ("GH200", "96"): "gh200-96",
    ("A10", "24"): "a10",
    ("A10G", "24"): "a10g",
    ("A40", "48"): "a40",
    ("L4", "24"): "l4",
    ("L40", "48"): "l40",
    ("L40S", "48"): "l40s",
    ("T4", "16"): "t4",
    ("V100 32GB", "32"): "v100-sxm2-32",
    ("RTX 3090", "24"): "rtx-3090",
    ("RTX 3090 Ti", "24"): "rtx-3090-ti",
    ("RTX 4090", "24"): "rtx-4090",
    ("RTX 5090", "32"): "rtx-5090",
    ("RTX A6000", "48"): "rtx-a6000",
    ("RTX 6000 Ada", "48"): "rtx-6000-ada",
    ("RTX PRO 6000 Server", "96"): "rtx-pro-6000-server",
    ("RTX PRO 6000 WS", "96"): "rtx-pro-6000-ws",
    ("MI300X", "192"): "mi300x",
    ("TPU v5e", "16"): "tpu-v5e",
    ("TPU v5p", "95"): "tpu-v5p",
    ("TPU v6e", "32"): "tpu-v6e",
    ("Inferentia2", "32"): "inferentia2",
}
"""Listed name and memory. V100 16 GB, Trainium1 and MI350X are not in the catalogue; a B300 listed with 180 GB and an
L40 with 40 GB contradict themselves: all of these stay unmapped."""

GPU_ALIASES: dict[str, tuple[str, ...]] = {
    "h100-sxm-80": ("h100", "h100-80", "h100-sxm", "h100-sxm5", "h100-80gb-hbm3", "h100-hbm3"),
    "h100-pcie-80": ("h100-pcie",),
    "h100-nvl-94": ("h100-nvl",),
    "h200-sxm-141": ("h200", "h200-141", "h200-sxm"),
    "h200-nvl-141": ("h200-nvl",),
    "gh200-144": ("gh200-141", "gh200-hbm3e", "gh200-144gb"),
    "b200-sxm-180": ("b200", "b200-180", "b200-192", "b200-sxm"),
    "b300-sxm-288": ("b300", "b300-288", "b300-sxm"),
    "gb200-186": ("gb200", "gb200-192", "gb200-nvl72"),
    "gb300-288": ("gb300", "gb300-nvl72"),
    "a100-sxm-80": ("a100", "a100-80", "a100-sxm", "a100-sxm4-80"),
    "a100-pcie-80": ("a100-pcie",),
    "a100-sxm-40": ("a100-40", "a100-sxm4-40"),
    "a10": ("a10-24",),
    "a10g": ("a10g-24",),
    "a40": ("a40-48",),
    "l40s": ("l40s-48",),
    "l40": ("l40-48",),
    "l4": ("l4-24",),
    "t4": ("t4-16", "tesla-t4"),
    "v100-sxm2-32": ("v100-32", "v100-sxm-32"),
    "rtx-3090": ("3090", "rtx-3090-24"),
    "rtx-4090": ("4090", "rtx-4090-24"),
    "rtx-5090": ("5090", "rtx-5090-32"),
    "rtx-6000-ada": ("rtx-6000-ada-48", "rtx-6000-ada-generation"),
    "rtx-a6000": ("a6000", "rtx-a6000-48"),
    "rtx-pro-6000-ws": ("rtx-pro-6000", "rtx-pro-6000-blackwell", "rtx-pro-6000-blackwell-workstation-edition"),
    "rtx-pro-6000-server": ("rtx-pro-6000-blackwell-server-96", "rtx-pro-6000-blackwell-server-edition"),
    "dgx-spark-gb10": ("gb10", "dgx-spark"),
    "mi300x": ("mi300x-192",),
    "mi325x": ("mi325x-256",),
    "mi355x": ("mi355x-288",),
    "rx-7900-xtx": ("7900-xtx",),
    "ryzen-ai-max-395": ("strix-halo",),
    "tpu-v6e": ("trillium",),
}

MEMORY_OVERRIDES: dict[str, tuple[float, str]] = {
    "dgx-spark-gb10": (119.0, "unified memory: about 119 of 128 GiB are usable"),
    "ryzen-ai-max-395": (96.0, "unified memory: 96 of 128 GiB can be given to the GPU by default settings"),
    "m3-ultra": (384.0, "unified memory: the GPU may take about 75 % of 512 GiB"),
    "m4-max": (96.0, "unified memory: the GPU may take about 75 % of 128 GiB"),
}

# What programs are given, by start-up logs of vLLM (GiB): the driver keeps the rest of what it shows.
ALLOCATABLE_GIB: dict[str, tuple[float, str]] = {
    "h100-sxm-80": (79.19, "profiles/measured/public/vllm_memory_ledger.csv"),
    "a100-sxm-80": (79.14, "start-up log of vLLM 0.6 on an A100 SXM 80GB"),
    "t4": (14.56, "start-up log of vLLM 0.7 on a T4"),
    "rtx-3090": (23.58, "https://github.com/vllm-project/vllm/issues/10517"),
    "l40s": (44.35, "start-up log of vLLM on an L40S"),
}

_PIXTRAL = {"spatial_merge_size": 2, "vision_config": {"model_type": "pixtral"}}
_PIXTRAL_NOTE = "vision encoder taken as Pixtral's 24 layers of 1,024 with its projector (about 0.4 B parameters)"
MODEL_EXTRAS: dict[str, dict[str, Any]] = {
    "mistral-small-3.1-24b-2503": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE},
    "mistral-small-3.2-24b-2506": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE},
    "mistral-small-4-119b-2603": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE, "native_weights": "fp8"},
    "devstral-small-2-24b-2512": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE},
    "ministral-3-3b-2512": {
        "config": _PIXTRAL,
        "note": _PIXTRAL_NOTE + "; 3.43 B text + 0.42 B vision = 3.85 B, which the maker rounds down to 3.8 B",
    },
    "ministral-3-8b-2512": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE},
    "ministral-3-14b-2512": {"config": _PIXTRAL, "note": _PIXTRAL_NOTE},
    "mistral-large-3-675b-2512": {
        "params_beside_text": 2_500_000_000,
        "note": "the vision encoder of 2.5 B parameters is loaded beside the text model",
    },
    "gemma-3-27b": {
        "config": {
            "vision_config": {"model_type": "siglip_vision_model", "image_size": 896},
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        "note": "27.0 B text + 0.42 B SigLIP encoder = 27.4 B as published",
    },
    "llama-4-scout": {
        "params_beside_text": 871_000_000,
        "note": "vision encoder (34 layers of 1,408, assumed 0.87 B) completes 107.8 B text to the published 109 B",
    },
    "devstral-2-123b-2512": {
        "note": "the config gives 125.0 B: 2.4 B more than the published name, which fits a vocabulary of 32,768 "
        "instead of 131,072 (embedding and output matrix)",
    },
    "kimi-k2": {"note": "the config gives 1,026 B, which the maker rounds to 1 T"},
    "deepseek-v3": {"note": "671 B without the multi-token-prediction module, which engines do not load by default"},
    "deepseek-r1": {"note": "671 B without the multi-token-prediction module, which engines do not load by default"},
    "gpt-oss-20b": {"note": "the published 3.6 B active parameters leave out the embedding matrix (0.58 B)"},
    "gpt-oss-120b": {"note": "the published 5.1 B active parameters leave out the embedding matrix (0.58 B)"},
    "glm-4.5-air": {"note": "106.9 B without the multi-token-prediction layer, which engines do not load by default"},
}

# API model names, without provider and namespace, that are that very checkpoint. Tuned, dated, "fast" and "turbo"
# variants are others, and so is a name that moves to the newest checkpoint ("latest").
_SERVED = {
    "gpt-oss-120b": ("gpt-oss-120b", "openai.gpt-oss-120b", "openai.gpt-oss-120b-1:0", "gpt-oss-120b-maas"),
    "gpt-oss-20b": ("gpt-oss-20b", "openai.gpt-oss-20b", "openai.gpt-oss-20b-1:0", "gpt-oss-20b-maas"),
    "llama-3.3-70b": (
        "llama-3.3-70b-instruct",
        "llama-3.3-70b-versatile",
        "llama-3.3-70b-instruct-maas",
        "llama-3.3-70b-instruct-fp8",
        "llama-3.3-70b-instruct-fp8-dynamic",
        "meta-llama-3_3-70b-instruct",
    ),
    "llama-3.1-8b": (
        "llama-3.1-8b-instruct",
        "llama-3.1-8b-instant",
        "meta-llama-3.1-8b-instruct",
        "meta-llama-3.1-8b-instruct-fp8",
    ),
    "llama-3.1-70b": ("llama-3.1-70b-instruct", "meta-llama-3.1-70b-instruct"),
    "llama-3.1-405b": ("meta-llama-3.1-405b-instruct",),
    "llama-4-scout": ("llama-4-scout-17b-16e-instruct", "llama-4-scout"),
    "qwen3-8b": ("qwen3-8b",),
    "qwen3-14b": ("qwen3-14b",),
    "qwen3-32b": ("qwen3-32b", "qwen.qwen3-32b-v1:0"),
    "qwen3-30b-a3b": ("qwen3-30b-a3b",),
    "qwen3-235b-a22b": ("qwen3-235b-a22b",),
    "gemma-2-27b": ("gemma-2-27b-it",),
    "gemma-3-27b": ("gemma-3-27b-it", "google.gemma-3-27b-it"),
    "deepseek-r1": ("deepseek-r1", "deepseek.r1-v1:0"),
    "deepseek-v3": ("deepseek-v3",),
    "kimi-k2": ("kimi-k2-0711-preview", "kimi-k2-instruct", "kimi-k2"),
    "glm-4.5-air": ("glm-4.5-air",),
    "phi-4": ("phi-4",),
    "mixtral-8x22b": ("open-mixtral-8x22b", "mixtral-8x22b-instruct"),
    "mixtral-8x7b": ("open-mixtral-8x7b",),
    "mistral-small-3-24b-2501": ("mistral-small-24b-instruct-2501",),
    "mistral-small-3.1-24b-2503": ("mistral-small-2503", "mistral-small-3.1-24b-instruct"),
    "mistral-small-3.2-24b-2506": (
        "mistral-small-2506",
        "mistral-small-3.2-24b-instruct",
        "mistral-small-3.2-24b-instruct-2506",
        "mistral-small3.2",
    ),
    "mistral-small-4-119b-2603": ("mistral-small-2603", "mistral-small-4-119b"),
    "ministral-3-3b-2512": ("ministral-3b-2512", "mistral.ministral-3-3b-instruct"),
    "ministral-3-8b-2512": ("ministral-8b-2512", "mistral.ministral-3-8b-instruct"),
    "ministral-3-14b-2512": ("ministral-14b-2512", "mistral.ministral-3-14b-instruct"),
    "devstral-2-123b-2512": ("devstral-2512", "mistral.devstral-2-123b", "devstral-2-123b-instruct-2512"),
    "mistral-large-3-675b-2512": ("mistral-large-2512", "mistral.mistral-large-3-675b-instruct"),
}
_MODEL_OF_NAME = {name: model for model, names in _SERVED.items() for name in names}


def served_model(provider: str, model: str) -> str | None:
    """Catalogue id of the checkpoint behind an API model, None unless its name says so."""
    name = model.rsplit("/", 1)[-1].lower()
    if name == "kimi-k2" and provider != "openrouter":  # there it is the July checkpoint; elsewhere it may move
        return None
    return _MODEL_OF_NAME.get(name)
