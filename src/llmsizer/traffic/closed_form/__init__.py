"""What a replica holds, in closed form: the batch it settles at, latencies with their tails, the rate within an SLO."""
