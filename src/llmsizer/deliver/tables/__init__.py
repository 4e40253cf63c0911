"""The tables of an answer and of records: plans, bills, rejections, variants, residuals."""
