"""A fleet through the week and the years: always on, by the hour, asleep, growing."""
