"""What is changed for a while and undone exactly, whenever Ctrl-C comes: the mechanism, gradient mode, random state."""
