"""What it takes: memory, step times, interconnect, and calibration from evidence."""
