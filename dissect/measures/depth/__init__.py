"""Measures of what the states of each layer still hold."""
