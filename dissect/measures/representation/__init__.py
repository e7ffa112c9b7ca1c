"""Measures of how states and weights changed."""
