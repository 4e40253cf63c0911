"""``bundle`` and ``verify``: from a plan to a running server, and back."""
