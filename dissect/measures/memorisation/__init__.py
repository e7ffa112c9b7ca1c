"""Measures of what a checkpoint has memorised."""
