"""Multinomial logistic regression with an L2 penalty, as a linear probe is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize
from scipy.special import logsumexp

MAX_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Probe:
    """Scores of the classes: ``((x - mean) / scale) @ weights + bias``. It is applied to other states unchanged."""

    weights: Float[np.ndarray, "d class"]
    bias: Float[np.ndarray, " class"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    classes: np.ndarray

    def scores(self, states: Float[np.ndarray, "item d"]) -> Float[np.ndarray, "item class"]:
        """Logits of the classes."""
        return (states - self.mean) / self.scale @ self.weights + self.bias

    def predict(self, states: Float[np.ndarray, "item d"]) -> np.ndarray:
        """The class of the highest score of each item."""
        return self.classes[self.scores(states).argmax(1)]


def fit(states: Float[np.ndarray, "item d"], labels: np.ndarray, *, c: float = 1.0, standardise: bool = True) -> Probe:
    """Minimise  Σ_i -log softmax(x_i W + b)[y_i] + ‖W‖² / (2c)  over W and b.

    This is scikit-learn's ``LogisticRegression(C=c)``; the bias is not penalised. Features are brought to mean 0 and
    deviation 1 on these items first (those that are constant are left as they are). With fewer items than dimensions
    the problem is solved in the span of the items, where its solution lies.

    Args:
        c: the smaller, the stronger the penalty.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    mean = states.mean(0) if standardise else np.zeros(states.shape[1])
    deviation = states.std(0) if standardise else np.ones(states.shape[1])
    scale = np.where(deviation > 1e-8 * max(deviation.max(), 1e-30), deviation, 1.0)
    x = (states - mean) / scale
    span = np.linalg.qr(x.T)[0] if len(x) < x.shape[1] else None
    weights, bias = _solve(x if span is None else x @ span, targets, len(classes), c)
    return Probe(weights if span is None else span @ weights, bias, mean, scale, classes)


def _solve(
    x: Float[np.ndarray, "item d"], targets: Int[np.ndarray, " item"], n_classes: int, c: float
) -> tuple[Float[np.ndarray, "d class"], Float[np.ndarray, " class"]]:
    """By Newton steps in a trust region, the Hessian only as a product with vectors: a dozen steps to 1e-6."""
    n, d = x.shape
    hot = np.zeros((n, n_classes))
    hot[np.arange(n), targets] = 1

    def logs_of(flat: Any) -> Any:
        scores = x @ flat[:-n_classes].reshape(d, n_classes) + flat[-n_classes:]
        return scores - logsumexp(scores, axis=1, keepdims=True)

    def loss(flat: Any) -> tuple[float, Any]:
        logs, weights = logs_of(flat), flat[:-n_classes].reshape(d, n_classes)
        error = np.exp(logs) - hot
        value = -(logs * hot).sum() + np.square(weights).sum() / (2 * c)
        return value, np.concatenate([(x.T @ error + weights / c).ravel(), error.sum(0)])

    at: dict[bytes, Any] = {}  # the probabilities of the last point: many products with vectors are asked for there

    def curved(flat: Any, along: Any) -> Any:
        key, weights = flat.tobytes(), along[:-n_classes].reshape(d, n_classes)
        if key not in at:
            at.clear()
            at[key] = np.exp(logs_of(flat))
        p, turned = at[key], x @ weights + along[-n_classes:]
        turned = p * (turned - (p * turned).sum(1, keepdims=True))
        return np.concatenate([(x.T @ turned + weights / c).ravel(), turned.sum(0)])

    start = np.zeros((d + 1) * n_classes)
    # the loss curves by 1/c at least: weights are then within 1e-6 of the best
    options = {"gtol": 1e-6 * min(1.0, 1 / c), "maxiter": MAX_ITERATIONS}
    solution = optimize.minimize(loss, start, jac=True, hessp=curved, method="trust-ncg", options=options).x
    return solution[:-n_classes].reshape(d, n_classes), solution[-n_classes:]
