"""``records``: what was measured, listed, compared, taken in and handed on."""
