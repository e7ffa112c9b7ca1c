"""The budget of attacks that train, where a plan finds it without waiting for torch."""

TRAINING = ("continued_kept", "relearn_others", "relearn_others_with_kept")
"""Attacks that train."""
BATCH_SIZE = 16
"""Facts in one step."""
STEPS = 50
"""Steps of one training."""
