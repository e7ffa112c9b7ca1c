"""Attacks that bring back knowledge that seemed forgotten: one file an attack, and none sees a tested fact."""
