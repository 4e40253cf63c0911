"""Reports, charts and files that people hand over. Nothing is computed here."""
