"""Continuous batching under load, from event to event: a compiled simulator of one or many replicas."""
