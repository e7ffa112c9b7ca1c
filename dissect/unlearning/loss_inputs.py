"""Inputs of the methods' losses: the parts of a micro-batch that they see."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from dissect.unlearning.losses.top_k import TopK


@dataclass(frozen=True, eq=False)
class TokenInputs:
    """Some scored tokens of a micro-batch, for methods that see tokens."""

    logits: Float[Tensor, "row d_vocab"]
    """Logits of the trained model where each token is predicted, in float32 at least."""
    targets: Int[Tensor, " row"]
    """The tokens."""
    in_answer: Bool[Tensor, " row"]
    """True where a token is one of the answer's; everywhere, unless whole texts are scored."""
    reference: Float[Tensor, "row d_vocab"] | TopK | None = None
    """The reference's logits for the same tokens, or its most likely tokens, where the method needs them."""


@dataclass(frozen=True, eq=False)
class StateInputs:
    """Hidden states of a micro-batch after one layer, for methods that see states."""

    states: Float[Tensor, "row d_model"]
    """The residual stream after the layer, at the scored tokens themselves."""
    goal: Float[Tensor, "row d_model"]
    """What each state is steered to."""


@dataclass(frozen=True, eq=False)
class AnswerInputs:
    """The answers of a micro-batch, for methods that see answers.

    Where alternate answers are needed they follow the forget answers, as many and in their order.
    """

    nll: Float[Tensor, " answer"]
    """-log p of each answer under the trained model, summed over its tokens, in nats (float64)."""
    lengths: Int[Tensor, " answer"]
    """Number of scored tokens of each answer."""
    reference: Float[Tensor, " answer"] | None = None
    """That NLL under the reference, where the method needs it."""

    @property
    def reference_nll(self) -> Float[Tensor, " answer"]:
        """The NLL under the reference, for a method that needs it."""
        assert self.reference is not None
        return self.reference
