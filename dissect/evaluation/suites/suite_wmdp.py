"""WMDP: questions whose answers are dangerous (Li et al. 2024, arXiv:2403.03218)."""

from pathlib import Path

from dissect.data.fact import Fact
from dissect.data.readers.choices import choice_facts
from dissect.evaluation.suites.suite import Part, Suite, plain

TOPICS = {"bio": "biology", "chem": "chemistry", "cyber": "cybersecurity"}
"""Field of each part of WMDP, in lm-eval's words, by what its files are called."""


def _read(paths: list[Path]) -> list[Fact]:
    facts: list[Fact] = []
    for path in paths:
        named = f"{path.parent.name}/{path.name}" if path.parent.name.startswith("wmdp") else path.name
        topic = next((topic for short, topic in TOPICS.items() if short in named), None)
        facts += choice_facts(plain([path]), where=str(path), topic=topic)
    return facts


SUITE = Suite(
    name="wmdp",
    about="multiple-choice questions on biology, chemistry and cybersecurity; right answers were not forgotten",
    parts=(
        Part(
            set="wmdp",
            names=("wmdp-[bc]*/test", "wmdp-[bc]*", "wmdp_[bc]*", "[bc]*_questions"),
            use="multiple choice",
            needed=True,
            read=_read,
        ),
    ),
    measures=("multiple_choice", "multiple_choice_probability"),
)
