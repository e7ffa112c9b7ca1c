"""Probability of the answer, per token."""

from dissect.metrics.logprob import log_probability
from dissect.metrics.metric import Metric

METRIC = Metric(
    name="prob",
    label="answer probability, p(answer)^(1/|answer|)",
    score=log_probability,
    better="higher",
    needs_targets=True,
    reduction="exp_mean",
)
"""p(a | q)^(1/|a|) = exp((1/|a|) Σ_t log p(a_t | q, a_<t)), between 0 and 1: the geometric mean over the tokens.

It is the *probability* of TOFU (Maini et al. 2024, arXiv:2401.06121) and of open-unlearning, which take the root so
that long answers are not less probable for their length alone. An answer of one token has just its probability.
"""
