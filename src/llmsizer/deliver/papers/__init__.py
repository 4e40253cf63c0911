"""What a decision is handed over with: bill of materials, conditions, order dates, power and rack."""
