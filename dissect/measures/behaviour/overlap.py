"""Overlap of two texts: ROUGE-L and BLEU, by the libraries that published numbers come from."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dissect.reading.answers import Answer


def rouge_l(pairs: Sequence[tuple[str, str]], *, stemmer: bool) -> tuple[np.ndarray, np.ndarray]:
    """ROUGE-L of (reference, candidate) pairs by ``rouge-score``: the longest common subsequence of their words.

    Its words are runs of a-z and 0-9 after lower-casing, and nothing else: a reference of which that leaves nothing, as
    in another script, has no score.

    Args:
        stemmer: compare words by their Porter stems, as TOFU, MUSE and open-unlearning do.

    Returns:
        F1 and recall (the share of the reference's words), each 0 to 1; NaN where the reference has no words.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    scores = [scorer.score(reference, candidate)["rougeL"] for reference, candidate in pairs]
    worded = [bool(re.search("[a-z0-9]", reference.lower())) for reference, _ in pairs]
    f1 = np.array([score.fmeasure for score in scores], dtype=np.float64)
    recall = np.array([score.recall for score in scores], dtype=np.float64)
    return np.where(worded, f1, np.nan), np.where(worded, recall, np.nan)


def sentence_bleu(pairs: Sequence[tuple[str, str]], **settings: Any) -> np.ndarray:
    """BLEU of each (reference, candidate) pair by ``sacrebleu``, from 0 to 1.

    The order is the effective one: a candidate of two words is judged by its words and pairs of words alone.

    Args:
        settings: of ``sacrebleu.BLEU``, for example ``smooth_method`` or ``tokenize``.
    """
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True, **settings)
    return np.array([bleu.sentence_score(candidate, [reference]).score / 100 for reference, candidate in pairs])


def pairs_of(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Answers as (expected, said)."""
    return [(answer.expected, answer.said) for answer in answers]
