"""What fleets cost: owned, rented in every mode, or called by the token."""
