"""The workbook: the program's own formulas as live cells, driven by one sheet of assumptions."""
