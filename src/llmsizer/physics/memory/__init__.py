"""What one GPU holds: the account of its memory, the cache, spreads over GPUs, and what would make it fit."""
