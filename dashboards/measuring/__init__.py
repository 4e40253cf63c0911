"""Measuring on this machine and looking at what was measured."""
