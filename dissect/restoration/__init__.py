"""Swapping parameters between two models."""
