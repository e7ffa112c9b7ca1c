"""Measuring checkpoints: what they say, know by heart, hold in their states, and give back under attack."""
