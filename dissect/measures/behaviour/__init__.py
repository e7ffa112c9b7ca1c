"""Measures of a checkpoint's answers and of the probability it gives to the right ones."""
