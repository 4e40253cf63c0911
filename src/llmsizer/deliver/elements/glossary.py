"""Definitions, stated once and shown wherever the words are used."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("TTFT", "Time to first token: first output token − arrival. Arrival is when the request was due to be sent."),
    ("TPOT", "Time per output token, per request: (end − first token) ÷ (output tokens − 1)."),
    ("ITL", "Inter-token latency: the raw gaps between output tokens of one request, not averaged."),
    ("p95", "95 of 100 requests are at least this fast."),
    ("SLO", "The speed that was asked for: at most so long to the first token and for each further one, at p95."),
    (
        "P10, P50, P90",
        "Below them lie 10, 50 and 90 of 100 draws; a draw takes every uncertain input once, from its range.",
    ),
    ("Throughput", "Output tokens of all requests together per second of wall clock, reading of prompts included."),
    ("Replica", "One running copy of the model, on one GPU or split over several (TP: tensor parallel)."),
    ("Spare replica", "One more than the peak hour needs, so that one may fail; it is paid for all the time."),
    (
        "Load at peak",
        "Requests in the peak hour ÷ the rate at which a replica saturates; at 100 % queues grow on.",
    ),
    ("KV cache", "What the model keeps of each token of context; its room limits how many requests run at once."),
    ("Perplexity", "exp of the mean negative log-likelihood per token of held-out text; lower is better. ± one s.e."),
    (
        "KL to 16 bit",
        "Mean divergence per token of the next-token probabilities from the 16-bit ones, in nats.",
    ),
    ("Quality kept", "Score of the format over the score of the 16-bit reference on the same evaluations."),
    ("Low and high", "A 90 % interval where a number is predicted; every part at its low, or at its high, in a sum."),
    ("GB, GiB", "1 GB is 10⁹ bytes; 1 GiB is 2³⁰. A month is 730 hours."),
)
