"""Swapping activations between two models."""
