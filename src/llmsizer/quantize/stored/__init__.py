"""Checkpoints on disk: tensors, the names of experts, and what every byte is."""
