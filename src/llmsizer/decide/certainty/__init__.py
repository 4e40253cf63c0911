"""How sure an answer is: draws, odds, tornado and what would flip it."""
