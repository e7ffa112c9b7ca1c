"""Relearning: training on some of the forgotten facts, and what it brings back of the others."""
