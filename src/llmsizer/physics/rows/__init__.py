"""Rows of measured tables: read as cases, with their memory, as observations."""
