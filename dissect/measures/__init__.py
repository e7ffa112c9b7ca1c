"""Measures of a checkpoint, one file each; `measure.py` says what a measure is and finds them."""
