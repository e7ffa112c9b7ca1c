"""A run: data, reference, loop, states, log, and the written result."""
