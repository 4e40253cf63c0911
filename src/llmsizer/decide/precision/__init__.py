"""Which precision: formats side by side, and where one stops leading."""
