"""Models made, quantized and measured here or on a server; what that says of predictions; the demo."""
