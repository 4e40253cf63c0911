"""What a variant loses against its reference: divergence on text, long contexts, tasks, and the verdict on them."""
