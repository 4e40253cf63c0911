"""A plan against reality: what it promised, what was seen, and how far off promises have been over time."""
