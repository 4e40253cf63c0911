"""``llama-server`` out of the xllamacpp wheel: a process that serves one GGUF file until it is ended.

Takes the flags of llama-server that ``llama_cpp`` and launch bundles give, so that both are started by one line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from llmsizer.installed import optional


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="xllamacpp_server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("--port", "--parallel", "--ctx-size"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--threads", "--batch-size", "--ubatch-size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--n-gpu-layers", type=int, default=-1)
    parser.add_argument("--alias")
    parser.add_argument("--cache-type-k", choices=("f16", "q8_0", "q4_0"))
    parser.add_argument("--cache-type-v", choices=("f16", "q8_0", "q4_0"))
    parser.add_argument("--metrics", action="store_true")
    asked = parser.parse_args(arguments)
    xllamacpp = optional("xllamacpp", what="the llama.cpp engine", extra="llama-cpp")
    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.hostnames = [asked.host]
    params.port, params.n_parallel, params.n_ctx = asked.port, asked.parallel, asked.ctx_size
    threads = asked.threads or len(os.sched_getaffinity(0))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if asked.batch_size:
        params.n_batch = asked.batch_size
    if asked.ubatch_size:
        params.n_ubatch = asked.ubatch_size
    if asked.alias:
        params.model_alias = {asked.alias}
    for side in ("k", "v"):
        kind = getattr(asked, f"cache_type_{side}")
        if kind:
            setattr(params, f"cache_type_{side}", getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind.upper()}"))
    params.endpoint_metrics = asked.metrics
    params.n_gpu_layers = asked.n_gpu_layers
    params.verbosity = 4  # as "--verbosity 4": the sizes of the buffers
    params.cache_ram_mib = 0  # prompts kept from earlier requests would serve later ones
    sys.stdout.write(f"system_info: {xllamacpp.get_system_info()}\n")
    sys.stdout.flush()
    server = xllamacpp.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before any thread that could catch it
    sys.exit(main(sys.argv[1:]))
