"""Measures of what a checkpoint says, and how probable it holds the right answer."""
