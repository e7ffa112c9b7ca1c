"""The rule, case by case, and what it may never say."""

from math import nan

import numpy as np
import pytest

from dissect.verdicts.findings import Findings, Reading
from dissect.verdicts.interval import Interval
from dissect.verdicts.lines import ALPHA, COVERED, SHARE
from dissect.verdicts.rule import Evidence, doubts, word
from dissect.verdicts.words import headline, words


def reading(
    share: float, p: float, *, name: str = "continued", width: float = 0.1, beyond: bool = True, trains: bool = True
) -> Reading:
    choice = 0.5 + share / 2
    return Reading(
        name=name,
        label=name,
        trains=trains,
        seen="Nothing.",
        choice=Interval(choice, choice - width / 2, choice + width / 2),
        z=3.0,
        p=p,
        p_adjusted=p,
        share=Interval(share, share - width, share + width),
        upper=share + width,
        beyond_guessing=beyond,
        items=np.array([choice]),
    )


def findings(*readings: Reading, power: float = 0.99, avoidance: float = 0.5) -> Findings:
    return Findings(
        readings=readings,
        not_possible={},
        p_adjusted=min((each.p_adjusted for each in readings), default=nan),
        power=power,
        enough=200.0,
        avoidance=avoidance,
        avoiding=min(readings, key=lambda each: each.choice.value, default=None),
        guessing=False,
    )


FOUND, NOTHING, TRACE = (reading(0.8, 0.0001), reading(0.05, 0.4), reading(0.1, 0.0001))
ASKED = reading(0.0, 0.6, name="as_asked", trains=False)
GOOD = {"base_choice": Interval(0.99, 0.97, 1.0), "base_p": 0.0001, "kept": Interval(0.95, 0.9, 1.0)}
QUIET = {"as asked": Interval(0.02, 0.0, 0.05), "in other words": Interval(0.1, 0.0, 0.2)}
LOUD = QUIET | {"in other words": Interval(0.6, 0.5, 0.7)}


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"findings": findings(ASKED, FOUND)}, "suppressed"),
        ({"findings": findings(FOUND)}, "suppressed"),
        ({"findings": findings(ASKED, TRACE)}, "traces left"),
        ({"findings": findings(ASKED, reading(SHARE, ALPHA / 2))}, "suppressed"),
        ({"findings": findings(ASKED, reading(0.8, ALPHA))}, "cannot tell"),
        ({"findings": findings(ASKED, NOTHING)}, "erased"),
        ({"findings": findings(ASKED, NOTHING, power=0.89)}, "cannot tell"),
        ({"findings": findings(ASKED, NOTHING, power=nan)}, "cannot tell"),
        ({"findings": findings(ASKED, reading(SHARE - 0.05, 0.2))}, "cannot tell"),
        ({"findings": findings(ASKED, NOTHING), "weak": ("relearning",)}, "cannot tell"),
        ({"findings": findings(ASKED, FOUND), "weak": ("relearning",)}, "suppressed"),
        ({"findings": findings(ASKED, NOTHING, avoidance=ALPHA / 2), "covered": COVERED}, "erased"),
        ({"findings": findings(ASKED, NOTHING, avoidance=ALPHA / 2), "covered": COVERED - 0.01}, "cannot tell"),
        ({"findings": findings(ASKED, NOTHING, avoidance=ALPHA), "covered": 0.0}, "erased"),
        ({"findings": findings(ASKED, FOUND, avoidance=ALPHA / 2), "covered": 0.0}, "suppressed"),
        ({"findings": findings(ASKED, reading(nan, nan, width=nan))}, "cannot tell"),
        ({"findings": findings(ASKED)}, "cannot tell"),
        ({"findings": findings(ASKED, reading(0.05, 0.4, trains=False))}, "cannot tell"),
        ({"findings": findings()}, "cannot tell"),
        ({"findings": findings(ASKED, NOTHING), "kept": None}, "cannot tell"),
        ({"findings": findings(ASKED, FOUND), "kept": None}, "suppressed"),
        ({"findings": findings(ASKED, FOUND), "said": LOUD}, "not forgotten"),
        ({"findings": findings(ASKED, NOTHING), "said": LOUD}, "not forgotten"),
        ({"findings": findings(ASKED, FOUND), "kept": Interval(0.2, 0.1, 0.3)}, "broken"),
        ({"findings": findings(ASKED, NOTHING), "kept": Interval(0.2, 0.1, 0.3), "said": LOUD}, "broken"),
        ({"findings": findings(ASKED, NOTHING), "kept": Interval(0.4, 0.2, 0.6)}, "erased"),
        ({"findings": findings(ASKED, NOTHING), "perplexity": 4.0}, "broken"),
        ({"findings": findings(ASKED, NOTHING), "perplexity": nan}, "broken"),
        ({"findings": findings(ASKED, FOUND), "base_choice": Interval(0.6, 0.5, 0.7)}, "cannot tell"),
        ({"findings": findings(ASKED, FOUND), "base_p": 0.2}, "cannot tell"),
        ({"findings": findings(ASKED, reading(0.5, 0.0001, beyond=False))}, "cannot tell"),
    ],
)
def test_cases(evidence, said):
    each = Evidence(**({"said": QUIET} | GOOD | evidence))
    assert word(each) == said
    text = words(said, each, exact=True, retrained=False)
    assert headline(said, each) and text.endswith(".") and "nan" not in text and "  " not in text
    if said == "cannot tell" and each.known:
        assert doubts(each)


def test_avoiding_is_said_and_is_no_knowledge():
    avoids = reading(-0.9, 1.0, name="as_asked")
    each = Evidence(**GOOD, said=QUIET, findings=findings(avoids, NOTHING, avoidance=0.0001))
    assert word(each) == "erased"
    said = words("erased", each, exact=True, retrained=True)
    assert "avoids the right answers: asked as it is, it chooses them in only 5% " in said
    assert "by itself it does not say whether they are left" in said


def test_a_broken_model_says_whether_the_facts_are_in_it():
    kept = {"kept": Interval(0.1, 0.0, 0.2)}
    found, nothing = (Evidence(**(GOOD | kept), findings=findings(ASKED, each)) for each in (FOUND, NOTHING))
    assert headline("broken", found) == "Broken, and the facts are still in it"
    assert "none of the facts" in headline("broken", nothing)


def test_how_many_facts_would_be_enough_is_said():
    each = Evidence(**GOOD, said=QUIET, findings=findings(ASKED, NOTHING, power=0.3))
    assert "about 200 would be enough" in words("cannot tell", each, exact=True, retrained=False)
