"""The budget of attacks that train, where a plan finds it without waiting for torch."""

TRAINING = ("continued_kept", "relearn_others", "relearn_others_with_kept")
"""Attacks that train."""
BATCH_SIZE = 16
"""Facts in one step."""
STEPS = 50
"""Steps of one training."""
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
"""Peak learning rates, tried from the lowest."""
TRAININGS = len(RATES) + 2 * 2
"""Trainings of a panel where none has to be repeated: one at each rate, and two attacks that relearn two folds each."""
