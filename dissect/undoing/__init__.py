"""Temporary changes, undone exactly whenever Ctrl-C comes: the mechanism, gradient mode, random state."""
