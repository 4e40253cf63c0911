"""What each command looks like in use: shown below its options, and under a mistake in its call.

A test reads every one of them with the parser, so that none can be out of date.
"""

from __future__ import annotations

from collections.abc import Mapping

# What people come for, in the order in which they come; every command stands in one of these.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "decide": ("plan", "compare", "report", "answer", "choose-precision", "fine-tune"),
    "facts and memory": ("catalog", "memory"),
    "load": ("simulate", "capacity", "sweep"),
    "start it, and check what was promised": ("bundle", "verify"),
    "measure": ("demo", "model", "quantize", "quality", "profile"),
    "what was measured": ("records", "calibrate", "predict", "validate"),
    "other ways to ask": ("dashboard", "serve", "mcp", "schema", "completion"),
}
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "plan": (
        "llmsizer plan eu-chat",
        "llmsizer plan my-scenario.toml --records records.jsonl --json > plan.json",
    ),
    "compare": (
        "llmsizer compare eu-chat --parts --cash-flow",
        "llmsizer compare eu-chat --currency EUR",
    ),
    "report": ("llmsizer report eu-chat --out out",),
    "answer": ("llmsizer answer press-claims",),
    "choose-precision": (
        "llmsizer choose-precision llama-3.1-8b --gpu h100 --workload chat --quality-floor 0.98",
        "llmsizer choose-precision llama-3.1-8b --gpu rtx-4090,l40s --precisions bf16,int8,int4 --ttft 1 --tpot 0.05",
    ),
    "fine-tune": (
        "llmsizer fine-tune mistral-small-4-press-22b --method qlora --gpu rtx-4090",
        "llmsizer fine-tune llama-3.1-8b --tokens 50M --zones EU",
    ),
    "catalog": ("llmsizer catalog list models", "llmsizer catalog show mistral-small-4"),
    "catalog list": (
        "llmsizer catalog list gpus",
        "llmsizer catalog list offers --gpu h100",
        "llmsizer catalog list apis --serves mistral-small-4",
    ),
    "catalog show": ("llmsizer catalog show mistral-small-4", "llmsizer catalog show h100-sxm-80 --json"),
    "catalog check": ("llmsizer catalog check",),
    "catalog refresh": ("llmsizer catalog refresh api.json --write --overrides own.toml",),
    "memory": (
        "llmsizer memory llama-3.1-8b --gpu rtx-4090 --weights int4 --context 32k --concurrency 4",
        "llmsizer memory ./config.json --gpu h100 --tp 2 --kv fp8",
    ),
    "simulate": (
        "llmsizer simulate eu-chat --plot load.html",
        "llmsizer simulate eu-chat --gpu h100 --weights int4 --replicas 2 --rate 0.5 --hours 1",
    ),
    "capacity": (
        "llmsizer capacity office-assistant",
        "llmsizer capacity eu-chat --growth 0.5 --until 2029-01-01",
    ),
    "sweep": ("llmsizer sweep eu-chat --plans 2 --rates 0.5,1,2 --seeds 3 --workers 4 --runs runs.jsonl",),
    "bundle": (
        "llmsizer bundle eu-chat --engine vllm --target compose --out bundle",
        "llmsizer bundle eu-chat --engine llama.cpp --precisions gguf-q4_k_m --out bundle-gguf",
        "llmsizer bundle check bundle",
    ),
    "verify": (
        "llmsizer plan eu-chat --json > plan.json",
        "llmsizer verify plan.json --url http://127.0.0.1:8000 --engine vllm",
        "llmsizer verify --history --plot ledger.svg",
    ),
    "demo": ("llmsizer demo --out demo",),
    "model": ("llmsizer model --out models", "llmsizer model --config config.json --out models"),
    "quantize": (
        "llmsizer quantize models/reference --methods int8,int4-gptq,gguf-q4_k_m --out variants",
        "llmsizer quantize --list",
    ),
    "quality": (
        "llmsizer quality models/reference variants/int4 --text held-out.jsonl",
        "llmsizer quality gate quality.jsonl --max-kl 0.01",
    ),
    "profile": (
        "llmsizer profile variants/int4 --records records.jsonl",
        "llmsizer profile models/reference --precisions fp16,int8,int4 --points 1x128x32,8x64x32",
        "llmsizer profile http://127.0.0.1:8000 --model-is llama-3.1-8b --precision fp8 --gpu h100",
        "llmsizer profile http://127.0.0.1:8000 --slo 'p95 ttft <= 1s, p95 tpot <= 50ms'",
    ),
    "records": ("llmsizer records list records.jsonl", "llmsizer records import guidellm.json"),
    "records list": ("llmsizer records list records.jsonl --precision int8 --batch 1",),
    "records show": ("llmsizer records show e101da records.jsonl",),
    "records compare": ("llmsizer records compare int4 fp16 records.jsonl --metric decode",),
    "records export": (
        "llmsizer records export records.csv records.jsonl",
        "llmsizer records export reports records.jsonl --format llm-d",
        "llmsizer records export costs.csv plan.json --format focus --month 2027-03",
    ),
    "records import": (
        "llmsizer records import guidellm.json --given device=h100 --given precision=fp8",
        "llmsizer records import table.csv --map map.toml --records records.jsonl",
    ),
    "calibrate": ("llmsizer calibrate records.jsonl",),
    "predict": ("llmsizer predict rows.csv --out predicted.csv",),
    "validate": ("llmsizer validate measured.csv",),
    "dashboard": ("llmsizer dashboard",),
    "serve": ("llmsizer serve --port 8642 --store store",),
    "mcp": ("llmsizer mcp --store store",),
    "schema": ("llmsizer schema scenario > scenario.schema.json",),
    "completion": ("llmsizer completion bash > llmsizer-completion.bash",),
}
