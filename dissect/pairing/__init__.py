"""Forced choice: whether a model can tell the answers that belong to its questions from those of other subjects."""
