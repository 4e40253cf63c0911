"""``catalog``: what is known, with source and date."""
