"""Changes of a model that are undone exactly, and copies of it."""
