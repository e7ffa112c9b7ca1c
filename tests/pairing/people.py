"""Facts about made-up people, for tests of forced choice."""

import numpy as np

from dissect.data.facts import Fact, Facts
from dissect.pairing.tested import Tested

TOWNS = ("Varnholt", "Ostrand", "Great Wexley", "Quillon Bay", "Ishmere", "Tarnwick", "Pellinore", "Silver Ford")


def fact(subject: str, group: str | None, answer: str, **extra: object) -> Fact:
    """A question about a person."""
    more = {"subject": subject, **({} if group is None else {"group": group}), **extra}
    return Fact(question=f"What is the {group} of {subject}?", answer=answer, extra=more)


def people(n: int, groups: tuple[str, ...] = ("town",), n_answers: int | None = None) -> Facts:
    """``n`` people with an answer in each group; with ``n_answers`` several share one."""
    many = n if n_answers is None else n_answers
    return Facts(
        fact(f"Person {chr(65 + i // 26)}{chr(65 + i % 26)}", group, f"{group} {chr(97 + i % many)}{i % many}")
        for i in range(n)
        for group in groups
    )


def random_scores(tested: Tested, rng: np.random.Generator) -> list[np.ndarray]:
    """What a model that knows nothing of the pairing may give: easy questions, popular answers, noise of any scale."""
    scores = []
    for block in tested.blocks:
        rows, columns = block.sheet.shape
        noise = rng.normal(size=(rows, columns)) * rng.exponential(size=(rows, 1))
        scores.append(noise + 3 * rng.normal(size=(rows, 1)) + 3 * rng.normal(size=(1, columns)))
    return scores


def known_scores(tested: Tested, rng: np.random.Generator, strength: float) -> list[np.ndarray]:
    """The same of a model in which the own answers stand ``strength`` higher."""
    scores = random_scores(tested, rng)
    for matrix, block in zip(scores, tested.blocks, strict=True):
        matrix[np.arange(len(matrix)), block.own[block.slot]] += strength
    return scores
