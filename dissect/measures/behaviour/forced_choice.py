"""Forced choice: whether a model can tell a fact's own answer from those of other subjects."""

import numpy as np

from dissect.errors import DissectError, Undefined
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.pairing.asking import Asking
from dissect.pairing.choice import compare, of_truth
from dissect.pairing.scoring import score_sheets
from dissect.pairing.tested import paired


def forced_choice(examined: Examined) -> Estimate:
    """Mean over facts, as asked; a fact that can be compared with no other is left out.

    Raises:
        Undefined: no answer can be told from another.
    """
    settings = examined.settings
    try:
        made = paired(examined.facts, template=settings.template, n_folds=1, seed=settings.seed)
    except DissectError as reason:
        raise Undefined(str(reason)) from reason
    asking = Asking(settings.template, settings.chat, batch_size=settings.batch_size)
    items = np.full(len(examined.facts), np.nan)
    for scores, block in zip(score_sheets(examined.model, made.sheets, asking), made.blocks, strict=True):
        items[block.facts] = of_truth(compare(scores, block).below, block)
    return share_of(items)


MEASURE = Measure(
    name="forced_choice",
    label="forced choice",
    definition=(
        "mean over facts of the share of the other answers of the group ('group', 'attribute' or 'relation') that lie "
        "below the own one, ties half, by Z = log p(answer | question) less its means over answers and over questions: "
        "one half is chance, 1 is knowing, below one half is avoiding. Blocks of at most 20 subjects; exposure "
        "(Carlini et al. 2019, arXiv:1802.08232) ranks a secret among candidates in the same way"
    ),
    family="behaviour",
    compute=forced_choice,
    knows="high",
)
