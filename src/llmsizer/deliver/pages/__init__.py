"""Whole pages of HTML: the report, and the page of load."""
