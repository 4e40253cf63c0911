"""A stand-in for the ``vllm`` command: prints the lines that the real one prints, and serves completions.

FAKE_VLLM in the environment makes it break: ``dies`` while starting, ``error`` answers 500, ``short`` makes too few
tokens, ``orphan`` leaves a grandchild behind whose number it writes to FAKE_VLLM_PIDS, ``port taken`` and ``port taken
once`` find somebody at their port and count their starts in that file.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
from typing import Any

LOG = """\
(APIServer pid=1) INFO 10-08 16:50:19 [api_server.py:1978] vLLM API server version 0.31.0
INFO 10-08 16:50:22 [core.py:129] Initializing a V1 LLM engine (v0.31.0) with config: enable_prefix_caching=False
INFO 10-08 16:50:23 [auto_awq.py:451] Using MacheteLinearKernel for AutoAWQMarlinLinearMethod
INFO 10-08 16:50:26 [model_runner.py:407] Model loading took 5.38 GiB memory and 2.637574 seconds
INFO 10-08 16:50:30 [gpu_worker.py:692] Available KV cache memory: 34.79 GiB
INFO 10-08 16:50:30 [kv_cache_utils.py:2464] GPU KV cache size: 651,504 tokens, Maximum concurrency for 4,096 tokens
"""
MODE = os.environ.get("FAKE_VLLM", "")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200 if self.path in ("/health", "/version") else 404, b'{"version": "0.31.0"}')

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if MODE == "error":
            self._answer(500, b'{"error": "out of memory"}')
            return
        assert asked["model"] == "llmsizer" and asked["ignore_eos"]
        assert all(isinstance(token, int) for token in asked["prompt"])
        wanted = asked["max_tokens"] - (1 if MODE == "short" else 0)
        self.send_response(200)
        self.end_headers()
        made = 0
        while made < wanted:
            made = min(wanted, made + (2 if made == 2 else 1))  # once, two tokens in one chunk
            chunk = {"choices": [{"text": ""}], "usage": {"completion_tokens": made}}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main(arguments: list[str]) -> None:
    if MODE == "dies":
        sys.stdout.write("ValueError: No available memory for the cache blocks.\n")
        sys.exit(1)
    if MODE.startswith("port taken"):
        with open(os.environ["FAKE_VLLM_PIDS"], "a+") as file:  # noqa: PTH123
            first = file.tell() == 0
            file.write("x")
        if first or MODE == "port taken":
            sys.stdout.write("OSError: [Errno 98] Address already in use\n")
            sys.exit(1)
    if MODE == "orphan":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(os.environ["FAKE_VLLM_PIDS"], "w") as file:  # noqa: PTH123
            file.write(str(child.pid))
    sys.stdout.write(LOG + "INFO arguments " + " ".join(arguments) + "\n")
    sys.stdout.flush()
    port = int(arguments[arguments.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
