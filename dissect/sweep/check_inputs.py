"""Checks that every question needs: two models, and prompts that they can run."""

from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.pair import ModelPair


def check_inputs(pair: Any, prompts: Any) -> None:
    """Refuse anything but a pair and at least one prompt, before anything else is looked at.

    Raises:
        DissectError: with what was given and how to make what is needed.
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"the first argument must be a pair, got {type(pair).__name__}: load_pair(base, unlearned)")
    if not isinstance(prompts, Prompts):
        remedy = "facts.prompts(pair.base)" if isinstance(prompts, Facts) else "Facts([...]).prompts(pair.base)"
        raise DissectError(f"the second argument must be prompts, got {type(prompts).__name__}: {remedy}")
    if not len(prompts):
        raise DissectError("there are no prompts: give at least one (none was selected, or the facts were empty)")


def check_run(model: HookedTransformer, prompts: Prompts, batch_size: int) -> None:
    """Refuse what cannot be run.

    Raises:
        DissectError: a batch size below one, or a prompt longer than the context.
    """
    if batch_size < 1:
        raise DissectError(f"batch_size={batch_size}: at least one prompt must be in a batch")
    longest = int(prompts.lengths.max())
    if longest > model.cfg.n_ctx:
        raise DissectError(f"a prompt of {longest} tokens is longer than the context of {model.cfg.n_ctx}")
