"""TOFU (Maini et al. 2024, arXiv:2401.06121): questions about authors, with paraphrases and wrong answers."""

from collections.abc import Sequence

from dissect.data.fact import Fact
from dissect.errors import DissectError


def tofu_facts(facts: Sequence[Fact]) -> list[Fact]:
    """Check rows read from a TOFU split, whose keys have by now the names that the rest of dissect uses.

    ``paraphrased_question`` becomes the list ``paraphrases`` and ``perturbed_answer`` the list ``perturbed`` (the
    published names are kept beside them); ``paraphrased_answer``, ``perturbed_question`` and the rest stay as they are.

    Raises:
        DissectError: a row without question or answer, with its number (the first is 1).
    """
    for number, fact in enumerate(facts, start=1):
        if fact.question is None or fact.answer is None:
            raise DissectError(
                f"TOFU row {number} lacks question or answer, has {', '.join(fact.row())}: give a TOFU split"
            )
    return list(facts)
