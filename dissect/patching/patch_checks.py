"""What must hold before any model runs."""

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError


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
