"""Retain facts that attacks may learn from: none of them says who, among the tested, belongs to what.

Facts about other subjects are best. Where what was forgotten is one kind of fact about everybody (all birthplaces),
there are none, and those about the tested subjects themselves stand in, as far as they name none of the answers that
are tested: they hold nothing of the key, so the test stays exact. What they allow is guessing (an employer may give
away a town), which is beyond chance; the verdict says that they were used.
"""

from dissect.attacks.attack import unrelated
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.measures.behaviour.contains import short_answers
from dissect.pairing.tested import Tested

ENOUGH = 50
"""Facts about other subjects that are enough, so that none about tested ones is taken."""
NOTE = (
    "Too few retain facts are about other subjects, so attacks also learnt from those about the tested ones that name "
    "no answer which is tested."
)


def retain_to_learn(retain: Facts, forget: Facts, tested: Tested, subject: str) -> tuple[Facts, str]:
    """The retain facts for attacks, and a sentence where some of them are about tested subjects.

    Args:
        retain: all of them.
        forget: all that was to be forgotten; a retain fact that asks the same is left out.
        tested: what is tested of it.
        subject: the key of ``extra`` that says whom a fact is about.
    """
    questions = {_asked(fact) for fact in forget}
    kept = retain.filter(lambda fact: _asked(fact) not in questions)
    others = unrelated(kept.filter(lambda fact: str(fact.extra.get(subject)) not in tested.names), tested.names)
    if len(others) >= ENOUGH:
        return others, ""
    answers = {text for fact in forget for text in (fact.target, *short_answers(fact)) if text}
    untold = unrelated(kept, answers | {text.lower() for text in answers} | {text.capitalize() for text in answers})
    return (untold, NOTE) if len(untold) > len(others) else (others, "")


def _asked(fact: Fact) -> str:
    return str(getattr(fact, fact.kind))
