"""Parts that a page shows beside its own figures."""
