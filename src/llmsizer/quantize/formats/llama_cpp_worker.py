"""llama.cpp's next-token probabilities, in a process of its own: the library talks to stdout and ends with it.

python -m llmsizer.quantize.formats.llama_cpp_worker MODEL.gguf TOKENS.npy OUT.npy VOCABULARY PRINTABLE

The server lists no probabilities where the token that it draws ends the text or is half a character; so it is made to
draw PRINTABLE, a token that is a letter. The probabilities listed are those before any such bias.
"""

from __future__ import annotations

import sys

import numpy as np

from llmsizer.installed import optional

ABSENT = -60.0  # log probability of what the server does not list


def main(model: str, tokens_file: str, out: str, vocabulary: int, printable: int) -> None:
    xllamacpp = optional("xllamacpp", what="reading GGUF back", extra="llama-cpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
    server = xllamacpp.Server(params)
    tokens = np.load(tokens_file).tolist()
    found = np.full((len(tokens), vocabulary), ABSENT, dtype=np.float32)
    for row, last in enumerate(range(1, len(tokens) + 1)):
        asked = {
            "prompt": tokens[:last],
            "n_predict": 1,
            "logprobs": vocabulary,
            "logit_bias": [[printable, 1000.0]],
            "temperature": 0.0,
        }
        answer = server.handle_completions(asked)
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[row, entry["id"]] = entry["logprob"]
    np.save(out, found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
