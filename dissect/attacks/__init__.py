"""Attacks that may bring knowledge back, one a file; `attack.py` says what an attack is, and none sees a tested fact."""
