"""Formulas that stay alive in a spreadsheet, each with the value it has today."""
