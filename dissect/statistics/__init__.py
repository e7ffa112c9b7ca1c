"""Intervals and other statistics of arrays; nothing here knows of models."""
