"""BLEU of what a model says against the expected answers."""

from dissect.errors import DissectError
from dissect.measures.behaviour.overlap import pairs_of, sentence_bleu
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of

SMOOTHINGS = ("exp", "floor", "add-k", "none")
STOPS = (".", "!", "?")


def bleu(subject: Subject) -> Estimate:
    """Mean sentence BLEU over facts, from 0 to 1.

    Raises:
        DissectError: an unknown smoothing in the option ``bleu.smoothing``.
    """
    smoothing = subject.option("bleu.smoothing", "exp")
    if smoothing not in SMOOTHINGS:
        raise DissectError(f"bleu.smoothing is {smoothing!r}: choose from {', '.join(SMOOTHINGS)}")
    pairs = [(expected, _as_open(expected, said)) for expected, said in pairs_of(subject.answers)]
    scores = sentence_bleu(pairs, smooth_method=smoothing)
    return mean_of(scores, seed=subject.settings.seed)


def _as_open(expected: str, said: str) -> str:
    """What was said, without the full stop that ends it where the expected answer has none.

    To the 13a words a full stop is a word: "Varnholt." would have half the score of "Varnholt".
    """
    return said if expected.endswith(STOPS) else said.rstrip("".join(STOPS))


MEASURE = Measure(
    name="bleu",
    label="BLEU",
    definition=(
        "mean over facts of the sentence BLEU (Papineni et al. 2002) of the greedy answer against the expected one, "
        "from 0 to 1: sacrebleu with its 13a words, effective order up to 4, brevity penalty, and exponential (NIST) "
        "smoothing unless bleu.smoothing says floor, add-k or none; a full stop that the expected answer lacks does "
        "not count"
    ),
    family="behaviour",
    compute=bleu,
    knows="high",
)
