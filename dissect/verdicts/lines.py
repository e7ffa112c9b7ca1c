"""Every line of the verdict's rule, in one place. They are constants: nobody chooses them after seeing a model.

Where each was chosen is said beside it. Lines that docs/verdict.md calls frozen were fixed on the populations of world
seed 0, before any other seed was looked at.
"""

from dissect.pairing.choice import Statistic

STATISTIC: Statistic = "log-softmax"
"""The quantity that the exact test adds up. It has most power of the three candidates on mixtures: of 80 facts of the
embedded world (world seed 0) a quarter have the base model's scores, the others the retrained model's. Mean z is 6.4,
against 4.9 of the rank score and 4.1 of the share below; with GA, NPO and UnDIAL in the retrained model's place 5.6 to
7.1, against 4.1 to 4.5 and 3.3 to 3.8."""
ALPHA = 0.01
"""Adjusted p below which knowledge is left: the chance that a panel calls one never-knowing model suppressed."""
SHARE = 0.4
"""Share left from which a model is suppressed, below which there are traces, and above which no upper end may lie
where it is called erased. Chosen on 40 models of the population of world seed 0, one of each construction, with 80
facts about 20 subjects: where nothing is left, the largest share of a panel is at most 0.14 and its interval ends at
0.27 at most; where a quarter of the facts was left in, it is 0.33 to 0.34, where half was, 0.57 to 0.59; in suppressed
models it is 0.78 or more (with 18 attacks all but one, whose output head was changed: that one showed 0.12, until the
readout fitted on other forget facts, which shows 0.95, joined the panel). So the line lies between a quarter and a
half."""
POWER = 0.9
"""Probability with which a share of `SHARE` must have been found before not finding anything says anything."""
LEVEL = 0.95
"""Level of the intervals that are shown."""
UPPER = 0.95
"""Confidence of the upper bound on each share left, one-sided, that "erased" needs."""
COVERED = 0.5
"""Share of the tested facts whose answers a readout of states was fitted on: "erased" needs it where the model avoids
the right ones."""
KNOWN = 0.75
"""Forced choice that the base model must reach for there to be a question: half of the way from chance to knowing."""
SAID = 0.5
"""A model that may still answer so large a share of what the base model answers has not forgotten (as in November)."""
KEPT = 0.5
"""A model that surely keeps less than this share of what was to be kept is broken (as in November)."""
PERPLEXITY = 3.0
"""A model whose perplexity on plain texts rose by more than this factor is broken (as in November)."""
ANSWERED = 0.5
"""Retain facts that the base model must answer for answers to say what was kept; below, forced choice does."""
KEPT_FACTS = 200
"""Retain facts asked at most, whole subjects at random, for what was kept."""
