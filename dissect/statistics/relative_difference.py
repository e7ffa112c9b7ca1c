"""The symmetric relative difference by which the UDS paper (arXiv:2605.24614) judges what an attack does to a number.

Two of its checks on a measure are of this one form: R, whether relearning moves a model as it moves one that never
knew, and Q, whether quantisation leaves the number where it was.
"""


def agreement(first: float, second: float, *, epsilon: float = 1e-12) -> float:
    """1 - clip(|a - b| / (|a| + |b| + ε), 0, 1): 1 where both are the same, 0 where one is 0 or the signs differ."""
    return 1 - min(1.0, abs(first - second) / (abs(first) + abs(second) + epsilon))
