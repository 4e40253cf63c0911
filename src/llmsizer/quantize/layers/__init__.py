"""One decoder layer, or one expert, at a time, so that memory holds no more."""
