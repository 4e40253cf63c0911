"""Load on any OpenAI-compatible server: a streaming client, load patterns, sweeps that find the knee, SLO search."""
