"""The five measures of a lens: four curves over layers, and the first layer with the answer within reach."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option, whole_number
from dissect.reading.layer_lens import LayerScores

SETS = ("forget", "retain", "paraphrased", "held_out")


def by_layer(values: Float[np.ndarray, "layer prompt"], examined: Examined) -> Sequence[Estimate]:
    """Mean over facts of each layer."""
    return [mean_of(row, layer=layer) for layer, row in enumerate(values)]


def lens_measures(
    name: str,
    label: str,
    about: str,
    scores: Callable[[Examined], LayerScores],
    *,
    options: tuple[Option[Any], ...] = (),
    slow: bool = False,
) -> tuple[Measure, ...]:
    """The five measures of a lens: four curves over the layers, and the layer from which the answer is within reach.

    Args:
        name: they are called ``<name>_logprob`` and so on.
        about: what the lens is, to begin their definitions with.
        options: those of the lens; ``<name>.k`` comes with the measures.
    """
    within_reach = whole_number(f"{name}.k", 10, "Number of most likely tokens that count as within reach.")

    def logprob(examined: Examined) -> Sequence[Estimate]:
        read = scores(examined)
        return by_layer(read.per_row(read.logprob), examined)

    def ranks(examined: Examined) -> Sequence[Estimate]:
        read = scores(examined)
        return by_layer(read.per_row(read.rank), examined)

    def within(examined: Examined) -> Sequence[Estimate]:
        read, k = scores(examined), examined.option(within_reach)
        return by_layer(read.per_row(read.rank <= k), examined)

    def entropy(examined: Examined) -> Sequence[Estimate]:
        read = scores(examined)
        return by_layer(read.per_row(read.entropy), examined)

    def first(examined: Examined) -> Estimate:
        read, k = scores(examined), examined.option(within_reach)
        return mean_of(read.per_row(read.first_layer(k)))

    def measure(
        kind: str, what: str, compute: Callable[[Examined], Estimate | Sequence[Estimate]], says: str, knows: str
    ) -> Measure:
        return Measure(
            name=f"{name}_{kind}",
            label=f"{label}: {what}",
            definition=f"{about}; {says}",
            family="depth",
            compute=compute,
            options=(*options, within_reach),
            sets=SETS,
            knows=knows,  # type: ignore[arg-type]
            slow=slow,
        )

    reach = f"the {within_reach.default} most likely ({name}.k)"
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
