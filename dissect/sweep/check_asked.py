"""What every question is asked of: two models, and prompts."""

from typing import Any

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.pair import ModelPair


def check_asked(pair: Any, prompts: Any) -> None:
    """Refuse what is no pair, no prompts, or none of them, before anything else is looked at.

    Raises:
        DissectError: with what was given and how to make what is needed.
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"the first argument is a {type(pair).__name__}: give load_pair(base, unlearned)")
    if not isinstance(prompts, Prompts):
        how = "facts.prompts(pair.base)" if isinstance(prompts, Facts) else "Facts([...]).prompts(pair.base)"
        raise DissectError(f"the second argument is a {type(prompts).__name__}, prompts are needed: give {how}")
    if not len(prompts):
        raise DissectError("there are no prompts: give at least one (none was selected, or the facts were empty)")
