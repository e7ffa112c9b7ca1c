"""Examples before the question: facts to be kept, answered, show the form and that answers are wanted.

All questions get the same examples. An answer that stands in them becomes likelier under every question, which is a
column of the matrix and says nothing of the key.
"""

from collections.abc import Sequence

import numpy as np

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.data.fact import Fact
from dissect.data.render import render
from dissect.errors import DissectError
from dissect.pairing.block import Question

DRAWS = 2
"""Sets of examples; the mean of their log-probabilities is taken."""
SHOTS = 4
"""Examples before a question."""


def kept_in_context(target: Target, *, shots: int, draws: int) -> Scores:
    """log p(answer | k answered retain facts, question), the mean over several draws of the examples."""
    kept = target.kept(shots, answered=True)
    rng = np.random.default_rng(target.seed)
    orders = [rng.permutation(len(kept)) for _ in range(draws)]
    reason = "shots must be at least 1"
    for count in range(shots, 0, -1):  # as many as the context holds
        texts = [_examples([kept[int(i)] for i in order[:count]], target) for order in orders]

        def changed(question: Question, texts: list[str] = texts) -> list[Question]:
            return [_after(question, text, target) for text in texts]

        try:
            scores = target.score(change=changed)
        except NotPossible:
            raise
        except DissectError as error:
            reason = str(error)
            continue
        if count < shots:
            target.notes.append(f"The context held {count} of {shots} examples.")
        return scores
    raise NotPossible(f"no example fits into the context before the questions: {reason}")


def _examples(facts: Sequence[Fact], target: Target) -> str:
    """The facts with their answers, one a line."""
    lines = []
    for fact in facts:
        text = render(fact, target.asking.user_template)
        lines.append((text.prompt + (text.target or "")).strip())
    return "\n".join(lines) + "\n"


def _after(question: Question, text: str, target: Target) -> Question:
    """The question after the examples; in a chat they stand in the user's turn."""
    if target.asking.chat is None or question.fact.question is None:
        return question.after(text, target.asking.user_template)
    return Question(Fact(question=f"{text}{question.fact.question}", extra=question.fact.extra), question.joint)


ATTACK = Attack(
    name="kept_in_context",
    label="retain facts in context",
    family="asking",
    seen="A few retain facts with their answers, put before the question.",
    run=kept_in_context,
    budget={"shots": SHOTS, "draws": DRAWS},
)
