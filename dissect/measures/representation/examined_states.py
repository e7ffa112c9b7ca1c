"""The states of examined checkpoints: computed once, and at the same tokens as the base model's."""

import torch

from dissect.errors import Undefined
from dissect.measures.examined import Examined
from dissect.measures.option import Option, whole_number
from dissect.reading.residual_states import Positions, States, drawn, mask_of, states

COMPARED: tuple[Positions, ...] = ("answer", "predicting")
"""Positions at which checkpoints are compared. At the answer's tokens the states hold what was read there, which
forgetting hardly touches; where these tokens are predicted they hold what is recalled."""


def states_of(examined: Examined, positions: Positions, *, max_tokens: int | None = None) -> States:
    """A checkpoint's states at its own set of facts, computed once.

    With ``max_tokens`` facts are drawn until they have so many tokens: the same ones of every checkpoint.
    """

    def make() -> States:
        prompts = examined.prompts
        mask = mask_of(prompts, positions)
        drawn_positions = drawn(mask.sum(1).numpy(), max_tokens, seed=examined.settings.seed)
        rows = torch.as_tensor(drawn_positions)
        part = prompts[rows]
        kept = states(examined.model, part, mask[rows, : part.tokens.shape[1]], batch_size=examined.settings.batch_size)
        return States(kept.values, drawn_positions[kept.row])

    return examined.memo(("states", examined.set, positions, max_tokens), make)


def beside_base(examined: Examined, positions: Positions, *, max_tokens: int | None = None) -> tuple[States, States]:
    """The states of the base model and those of the checkpoint, at the same tokens.

    Raises:
        Undefined: there is no base model, or the two cannot be compared token by token and layer by layer.
    """
    base = examined.base
    if base.model.cfg.n_layers != examined.model.cfg.n_layers:
        raise Undefined(
            f"it compares layer by layer, and base has {base.model.cfg.n_layers}, {examined.name} "
            f"{examined.model.cfg.n_layers}: give checkpoints of one architecture"
        )
    if base.prompts.fingerprint() != examined.prompts.fingerprint():
        raise Undefined("the two tokenise the facts differently: give checkpoints with one tokenizer")
    return tuple(states_of(one, positions, max_tokens=max_tokens) for one in (base, examined))  # type: ignore[return-value]


def max_tokens(measure: str) -> Option[int]:
    """Return the option ``<measure>.max_tokens``: it bounds memory and the Gram matrices."""
    return whole_number(
        f"{measure}.max_tokens", 2048, "Number of tokens that are compared, at most: whole facts, drawn by the seed."
    )
