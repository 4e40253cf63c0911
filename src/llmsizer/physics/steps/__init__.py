"""What a forward pass takes: deployments as columns of numbers, operators' formulas, loads made of passes."""
