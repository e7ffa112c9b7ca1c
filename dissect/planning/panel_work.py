"""How much the panel of `dissect verdict` computes for one checkpoint: tokens, and floating-point operations."""

from dataclasses import dataclass

from dissect.models.sizes import Sizes
from dissect.planning.job import Job

ANSWERS = 20
"""Answers that each question is compared on, at most."""
READINGS = 25
"""Readings of all questions, about: as asked and in other words (7), in context (2, several times as long), with the
direction ablated (1), rounded (3), through a tuned lens (3), after each training (8)."""


@dataclass(frozen=True)
class PanelWork:
    """The work of a panel on one checkpoint."""

    tokens_trained: int
    tokens_read: int
    operations: float
    """6 a parameter and token that is trained on (forward and backward), 2 where it is read."""


def panel_work(sizes: Sizes, job: Job, *, trainings: int, steps: int) -> PanelWork:
    """Count the work of a panel; a prefix is read once for all answers that follow it.

    Args:
        sizes: of the model.
        job: with ``panel``; its facts and lengths.
        trainings: of the attacks that train, all together.
        steps: of one training.
    """
    trained = trainings * steps * job.tokens()
    read = READINGS * job.n_facts * (job.length - job.answer + ANSWERS * job.answer)
    return PanelWork(trained, read, sizes.n_parameters * (6.0 * trained + 2.0 * read))
