"""The states of examined checkpoints: computed once, and at the same tokens as the base model's."""

from typing import Any

import torch

from dissect.errors import Undefined
from dissect.measures.examined import Subject
from dissect.reading.residual_states import Positions, States, drawn, mask_of, states

COMPARED: tuple[Positions, ...] = ("answer", "predicting")
"""Where checkpoints are compared. At the answer's tokens the states hold what was read there, which forgetting hardly
touches; where these tokens are predicted they hold what is recalled."""

MAX_TOKENS = 2048
"""So many tokens are compared at most: whole facts, drawn by the seed. It bounds memory and the Gram matrices."""


def states_of(subject: Subject, positions: Positions, *, max_tokens: int | None = None) -> States:
    """A checkpoint's states at its own set of facts, computed once.

    With ``max_tokens`` facts are drawn until they have so many tokens: the same ones of every checkpoint.
    """

    def make() -> States:
        prompts = subject.prompts
        mask = mask_of(prompts, positions)
        chosen = drawn(mask.sum(1).numpy(), max_tokens, seed=subject.settings.seed)
        rows = torch.as_tensor(chosen)
        part = prompts[rows]
        found = states(subject.model, part, mask[rows, : part.tokens.shape[1]], batch_size=subject.settings.batch_size)
        return States(found.values, chosen[found.row])

    return subject.memo(("states", subject.set, positions, max_tokens), make)


def beside_base(subject: Subject, positions: Positions, *, max_tokens: int | None = None) -> tuple[States, States]:
    """The states of the base model and those of the checkpoint, at the same tokens.

    Raises:
        Undefined: there is no base model, or the two cannot be compared token by token and layer by layer.
    """
    base = subject.base
    if base.model.cfg.n_layers != subject.model.cfg.n_layers:
        raise Undefined(
            f"it compares layer by layer, and base has {base.model.cfg.n_layers}, {subject.name} "
            f"{subject.model.cfg.n_layers}: give checkpoints of one architecture"
        )
    if base.prompts.fingerprint() != subject.prompts.fingerprint():
        raise Undefined("the two tokenise the facts differently: give checkpoints with one tokenizer")
    return tuple(states_of(one, positions, max_tokens=max_tokens) for one in (base, subject))  # type: ignore[return-value]


def tokens_option(subject: Subject, measure: str) -> int:
    """At most so many tokens, as the user wants it.

    Raises:
        Undefined: no whole number.
    """
    wanted: Any = subject.option(f"{measure}.max_tokens", MAX_TOKENS)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise Undefined(f"{measure}.max_tokens must be a whole number of tokens, got {wanted!r}")
    return wanted
