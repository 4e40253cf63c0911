"""What comes: arrivals, lengths, prefixes and conversations, and request logs of others."""
