"""BLEU of what a model says against the expected answers."""

from dissect.measures.behaviour.overlap import pairs_of, sentence_bleu
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import choice

SMOOTHING = choice("bleu.smoothing", ("exp", "floor", "add-k", "none"), "Smoothing of BLEU, by sacrebleu.")
STOPS = (".", "!", "?")


def bleu(examined: Examined) -> Estimate:
    """Mean sentence BLEU over facts, from 0 to 1."""
    pairs = [(expected, _as_open(expected, said)) for expected, said in pairs_of(examined.answers)]
    scores = sentence_bleu(pairs, smooth_method=examined.option(SMOOTHING))
    return mean_of(scores)


def _as_open(expected: str, said: str) -> str:
    """Return what was said, without a final full stop that the expected answer lacks.

    The 13a tokeniser counts a full stop as a word: "Varnholt." would have half the score of "Varnholt".
    """
    return said if expected.endswith(STOPS) else said.rstrip("".join(STOPS))


MEASURE = Measure(
    name="bleu",
    label="BLEU",
    definition=(
        "mean over facts of the sentence BLEU (Papineni et al. 2002) of the greedy answer against the expected one, "
        "from 0 to 1: sacrebleu with its 13a tokens, effective order up to 4, brevity penalty, and exponential (NIST) "
        "smoothing unless bleu.smoothing says floor, add-k or none; a full stop that the expected answer lacks does "
        "not count"
    ),
    family="behaviour",
    compute=bleu,
    options=(SMOOTHING,),
    knows="high",
)
