"""The data of a run."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dissect.data.prompts import Prompts

Augment = Callable[[Prompts, random.Random], Prompts]
"""Function from the forget prompts of a micro-batch to those that are seen in their place this time: as many, in the
same order."""


@dataclass
class TrainingData:
    """The prompts that a run trains on, and those that it watches."""

    forget: Prompts
    retain: Prompts | None = None
    alternate: Prompts | None = None
    """The forget questions with alternate answers, where the method needs them."""
    weights: Float[Tensor, "prompt pos"] | None = None
    """Focus weight of every token of ``forget``."""
    monitor: Prompts | None = None
    """Texts whose perplexity may end the run."""
    augment: Augment | None = None
    asked: tuple[Prompts, Prompts | None] | None = None
    """What checks ask: the forget facts, and those that are to be kept. By default what is trained on."""
