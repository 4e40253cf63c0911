"""Evidence: formulas fitted to it, what they leave over, how sure that is, and one's own records first."""
