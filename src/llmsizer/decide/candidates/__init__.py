"""Replicas worth pricing: every GPU, format and layout, sized against the SLO or rejected with a reason."""
