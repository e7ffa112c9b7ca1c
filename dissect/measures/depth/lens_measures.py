"""The five measures of a lens: four curves over layers, and the first layer with the answer within reach."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from dissect.errors import Undefined
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.reading.layer_lens import LayerScores

K = 10
"""How many of the most likely tokens count as within reach."""
SETS = ("forget", "retain", "paraphrased", "held_out")


def by_layer(values: Float[np.ndarray, "layer prompt"], subject: Subject) -> Sequence[Estimate]:
    """Mean over facts of each layer."""
    return [mean_of(row, seed=subject.settings.seed, layer=layer) for layer, row in enumerate(values)]


def top_k(subject: Subject, name: str) -> int:
    """``<name>.k``.

    Raises:
        Undefined: no whole number from 1 on.
    """
    k = subject.option(f"{name}.k", K)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise Undefined(f"{name}.k={k!r}: a whole number from 1 on, such as {K}")
    return k


def lens_measures(
    name: str, label: str, about: str, scores: Callable[[Subject], LayerScores], *, slow: bool = False
) -> tuple[Measure, ...]:
    """The five measures of a lens: four curves over the layers, and the layer from which the answer is within reach.

    Args:
        name: they are called ``<name>_logprob`` and so on.
        about: what the lens is, to begin their definitions with.
    """

    def logprob(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.logprob), subject)

    def ranks(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.rank), subject)

    def within(subject: Subject) -> Sequence[Estimate]:
        found, k = scores(subject), top_k(subject, name)
        return by_layer(found.per_row(found.rank <= k), subject)

    def entropy(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.entropy), subject)

    def first(subject: Subject) -> Estimate:
        found, k = scores(subject), top_k(subject, name)
        return mean_of(found.per_row(found.first_layer(k)), seed=subject.settings.seed)

    def measure(
        kind: str, what: str, compute: Callable[[Subject], Estimate | Sequence[Estimate]], says: str, knows: str
    ) -> Measure:
        return Measure(
            name=f"{name}_{kind}",
            label=f"{label}: {what}",
            definition=f"{about}; {says}",
            family="depth",
            compute=compute,
            sets=SETS,
            knows=knows,  # type: ignore[arg-type]
            slow=slow,
        )

    reach = f"the {K} most likely ({name}.k)"
    return (
        measure("logprob", "log-probability (nats)", logprob, "mean log-probability of an answer token, nats", "high"),
        measure("rank", "rank", ranks, "mean rank of an answer token in the vocabulary, 1: most likely", "low"),
        measure("top_k", "share within reach", within, f"share of the answer's tokens among {reach}", "high"),
        measure("entropy", "entropy (nats)", entropy, "mean entropy of the distribution, nats", ""),
        measure(
            "first_layer",
            "first layer within reach",
            first,
            f"the first layer, counted from 0, after which an answer token is among {reach}, mean over tokens; the "
            "number of layers where it never is",
            "low",
        ),
    )
