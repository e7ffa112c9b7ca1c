"""Training hooked models to forget."""
