"""What is: models, accelerators, precisions, prices, workloads and measured records."""
