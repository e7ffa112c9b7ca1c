"""No attack at all: the questions as they are, answers scored as the model gives them."""

from dissect.attacks.attack import Attack, Scores, Target


def as_asked(target: Target) -> Scores:
    """log p(answer | question) of every candidate."""
    return target.score()


ATTACK = Attack(
    name="as_asked",
    label="as asked",
    family="asking",
    seen="Nothing: the model is asked as it is.",
    run=as_asked,
)
