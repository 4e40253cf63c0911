"""One format a file: its writer, and our own reader of it."""
