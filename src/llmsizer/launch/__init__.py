"""From a plan to a running server: bundles of files that start it, and what can be checked of them offline."""
