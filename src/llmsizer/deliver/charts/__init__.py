"""Charts: SVG drawn here for papers, plain figures for the dashboard; each with its table and words."""
