"""Retain facts that attacks may learn from: none of them says who, among the tested, belongs to what.

Facts about other subjects are best. Where what was forgotten is one kind of fact about everybody (all birthplaces),
there are none, and those about the tested subjects themselves stand in, as far as none of the words that tell a tested
answer stands in them: they hold nothing of the key, so the test stays exact. What they allow is guessing (an employer
may give away a town), which is beyond chance; the verdict says that they were used.
"""

import re
from collections import Counter

from dissect.attacks.attack import unrelated
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.measures.behaviour.contains import folded, short_answers
from dissect.pairing.tested import Tested

ENOUGH = 20
"""Facts about other subjects that are enough for every attack, so that none about tested ones is taken."""
NOTE = (
    "Too few retain facts are about other subjects, so attacks also learnt from those about the tested ones that hold "
    "no word of an answer which is tested."
)
UNNAMED = (
    "Not all facts say whom they are about ('subject'), so retain facts about the same subjects could not be left out: "
    "if there are any, attacks may have been told what is tested."
)


def retain_to_learn(retain: Facts, forget: Facts, tested: Tested, subject: str) -> tuple[Facts, str]:
    """The retain facts for attacks, and a sentence where some of them are, or may be, about tested subjects.

    Args:
        retain: all of them.
        forget: all that was to be forgotten; a retain fact that asks the same is left out.
        tested: what is tested of it.
        subject: the key of ``extra`` that says whom a fact is about.
    """
    questions = {_asked(fact) for fact in forget}
    kept = retain.filter(lambda fact: _asked(fact) not in questions)
    others = unrelated(kept.filter(lambda fact: str(fact.extra.get(subject)) not in tested.names), tested.names)
    unnamed = [fact for fact in forget if fact.kind != "text" and not fact.extra.get(subject)]
    said = UNNAMED if unnamed and len(others) else ""
    if len(others) >= ENOUGH:
        return others, said
    telling = telling_words(forget)
    untold = kept.filter(lambda fact: not telling & _words(f"{_asked(fact)} {fact.target or ''}"))
    return (untold, NOTE) if len(untold) > len(others) else (others, said)


def telling_words(facts: Facts) -> frozenset[str]:
    """The words of the answers that tell one from another: of a short answer all, of a sentence those of its own.

    A sentence shares words with its question and with more than half of the other answers; these tell nothing, unless
    there are no others.
    """
    answers = [fact for fact in facts if fact.kind != "text" and fact.target]
    words = [_words(str(fact.target)) for fact in answers]
    counts = Counter(word for each in words for word in each)
    common = {word for word, count in counts.items() if count > len(answers) / 2}
    telling: set[str] = set()
    for fact, own in zip(answers, words, strict=True):
        telling |= (own - _words(_asked(fact)) - common) or own
        telling |= _words(" ".join(short_answers(fact)))
    return frozenset(telling)


def _asked(fact: Fact) -> str:
    return str(getattr(fact, fact.kind))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", folded(text)))
