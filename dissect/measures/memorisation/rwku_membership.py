"""RWKU's membership scores of texts about the forgotten and about others (Jin et al. 2024, arXiv:2406.10890)."""

import zlib

import numpy as np

from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.memorisation.membership import SMALLEST_DEVIATION

LOWEST = 0.2
"""Share of tokens that RWKU's Min-K%++ reads."""


def membership(examined: Examined) -> list[Estimate]:
    """Mean of each membership score over texts: log p a token, the same over zlib bytes, and Min-K%++."""
    scores = examined.scores
    logs = scores.per_row(scores.logprob)
    sizes = np.array([len(zlib.compress(text.encode())) for text in examined.prompts.answer_texts])
    standard = (scores.logprob - scores.mean) / np.maximum(scores.deviation, SMALLEST_DEVIATION)
    lowest = np.array([np.sort(part)[: max(1, int(len(part) * LOWEST))].mean() for part in scores.split(standard)])
    named = {"loss": logs, "zlib": logs / sizes, "min_k_plus_plus": lowest}
    return [mean_of(values, unit="texts", score=name) for name, values in named.items()]


MEASURE = Measure(
    name="rwku_membership",
    label="RWKU membership scores",
    definition=(
        "mean over texts of log p a token (loss), of that over the bytes of the text compressed by zlib, and of "
        "Min-K%++ with K = 20 (Jin et al. 2024); the higher, the more the texts look like texts trained on: compare "
        "mia_forget with mia_retain"
    ),
    family="memorisation",
    compute=membership,
    sets=("mia_forget", "mia_retain"),
    knows="high",
    slow=True,
)
