"""Everything that can be known of a bundle without a GPU, a registry or a cluster."""
