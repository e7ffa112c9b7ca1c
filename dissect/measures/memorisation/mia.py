"""Membership inference: whether the forget facts are still recognised as training data."""

from dissect.measures.estimate import Estimate, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.memorisation.membership import ATTACKS, K, auc, both_classes


def membership_inference(examined: Examined) -> list[Estimate]:
    """Area under the ROC curve of every attack; its interval draws members and non-members, each on their own."""
    estimates = []
    for attack in ATTACKS:
        members, others = both_classes(examined, attack)
        unit = f"facts ({len(members)} members, {len(others)} others)"
        estimates.append(statistic_of([members, others], auc, unit=unit, attack=attack))
    return estimates


MEASURE = Measure(
    name="mia",
    label="membership inference AUC",
    definition=(
        "area under the ROC curve of telling the forget facts, which are the members (class 1), from the set "
        "nonmembers (class 0) by a score of the answer or text that is higher for members: mean log p (loss), the same "
        "over the zlib size, Min-K% and Min-K%++ with mia.k = 0.4 of the tokens, as in open-unlearning. 0.5: they "
        "cannot be told apart; above, they are still recognised; below, they are less likely than facts never seen, "
        "which gives them away as well"
    ),
    family="memorisation",
    compute=membership_inference,
    options=(K,),
    sets=("forget",),
    knows="high",
)
