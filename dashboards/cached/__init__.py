"""Answers and records, kept while what they rest on stays the same."""
