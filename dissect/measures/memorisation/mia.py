"""Membership inference: are the forget facts still recognised as having been trained on?"""

from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure
from dissect.measures.memorisation.membership import ATTACKS, auc, both_classes
from dissect.statistics.bootstrap import bootstrap


def membership_inference(subject: Subject) -> list[Estimate]:
    """The area under the ROC curve of every attack; members and non-members are drawn anew, each on their own."""
    found = []
    for attack in ATTACKS:
        members, others = both_classes(subject, attack)
        low, high = bootstrap([members, others], auc, seed=subject.settings.seed)
        n = len(members) + len(others)
        unit = f"facts ({len(members)} members, {len(others)} others)"
        found.append(Estimate(float(auc(members, others)), n, low, high, unit, {"attack": attack}))
    return found


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
    sets=("forget",),
    knows="high",
)
