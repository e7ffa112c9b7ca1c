"""Attacks that may bring knowledge back, one a file; `attack.py` says what one is. None sees a tested fact."""
