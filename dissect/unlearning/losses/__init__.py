"""The unlearning objectives as pure functions, one a file.

``labels`` hold -100 where a token is not scored; logits at position t predict the label at t + 1. Each objective
returns a scalar tensor that is to be minimised.
"""

from dissect.unlearning.losses.gradient_ascent import gradient_ascent
from dissect.unlearning.losses.nll import nll, sequence_nll, token_nll

__all__ = ["gradient_ascent", "nll", "sequence_nll", "token_nll"]
