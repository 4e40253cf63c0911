"""What load does to it: batches, latency under load, capacity within an SLO."""
