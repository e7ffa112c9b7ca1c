"""MMLU: multiple-choice questions of 57 fields, what a model knows (Hendrycks et al. 2021, arXiv:2009.03300)."""

from pathlib import Path

from dissect.data.fact import Fact
from dissect.data.readers.choices import choice_facts
from dissect.evaluation.suites.suite import Part, Suite, plain


def _read(paths: list[Path]) -> list[Fact]:
    return [fact for path in paths for fact in choice_facts(plain([path]), where=str(path))]


SUITE = Suite(
    name="mmlu",
    about="multiple-choice questions of many fields, as many solved ones before each as multiple_choice.shots says",
    parts=(
        Part(set="mmlu", names=("all/test", "mmlu", "test", "*/test"), use="multiple choice", needed=True, read=_read),
        Part(set="choice_shots", names=("all/dev", "dev", "*/dev"), use="solved questions", read=_read),
    ),
    measures=("multiple_choice", "multiple_choice_probability"),
)
