"""What it costs: owning, renting, API prices, and the comparison over volume and time."""
