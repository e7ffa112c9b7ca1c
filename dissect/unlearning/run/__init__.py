"""A run: preparation, reference, loop, states, log, and the written result."""
