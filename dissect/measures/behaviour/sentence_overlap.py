"""ROUGE-L of RWKU: over sentences and distinct words, as the package ``rouge`` computes it."""

from collections.abc import Sequence

import numpy as np


def sentence_recall(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Share of each reference's distinct words that stand in a longest common subsequence with some said sentence.

    Not the ROUGE-L of ``rouge_l``: texts are cut at full stops into sentences and these at spaces into words, case and
    all; the words of the longest common subsequences of all pairs of sentences are united, and each counts once. This
    is summary-level ROUGE-L (Lin 2004) as the package ``rouge`` 1.0.1 has it, by which RWKU scores.

    Args:
        pairs: (reference, said).

    Returns:
        0 to 1 for each pair; NaN where the reference has no words.
    """
    return np.array([_recall(_sentences(reference), _sentences(said)) for reference, said in pairs])


def _sentences(text: str) -> list[list[str]]:
    # as the package has it, white space between two full stops is a sentence of one empty word
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _recall(reference: list[list[str]], said: list[list[str]]) -> float:
    words = {word for sentence in reference for word in sentence}
    if not words:
        return float("nan")
    shared = {word for wanted in reference for sentence in said for word in _common(wanted, sentence)}
    return len(shared) / len(words)


def _common(a: list[str], b: list[str]) -> list[str]:
    """A longest common subsequence; of several the one that the package finds, which drops words of ``b`` first."""
    lengths = np.zeros((len(a) + 1, len(b) + 1), dtype=np.int64)
    for i, word in enumerate(a, start=1):
        for j, other in enumerate(b, start=1):
            longest = max(lengths[i - 1, j], lengths[i, j - 1])
            lengths[i, j] = lengths[i - 1, j - 1] + 1 if word == other else longest
    found, i, j = [], len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            found.append(a[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1, j] > lengths[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return found[::-1]
