"""Measures of what an attack brings back."""
