"""Checkpoints and adapters on disk: read tensor by tensor, checked, and written back."""
