"""Ridge regression for several penalties at once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def ridge_path(
    inputs: Float[np.ndarray, "item d"],
    outputs: Float[np.ndarray, "item e"],
    new: Float[np.ndarray, "other d"],
    penalties: Sequence[float],
) -> Float[np.ndarray, "penalty other e"]:
    """Predictions for ``new`` from a ridge regression with intercept, W = argmin ‖Y - XW‖² + λ‖W‖², for each λ.

    Inputs and outputs are centred, so the intercept is not penalised. λ is a penalty times the mean squared singular
    value of the centred inputs, which makes penalties mean the same at every scale and number of items.
    """
    centre, mean = inputs.mean(0), outputs.mean(0)
    left, values, right = np.linalg.svd(inputs - centre, full_matrices=False)
    squares = values**2
    unit = max(float(squares.mean()), np.finfo(np.float64).tiny)
    projected, turned = (new - centre) @ right.T, left.T @ (outputs - mean)  # (other, k), (k, e)
    return np.stack([projected * (values / (squares + penalty * unit)) @ turned + mean for penalty in penalties])
