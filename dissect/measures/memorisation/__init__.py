"""Measures of how much a checkpoint has by heart."""
