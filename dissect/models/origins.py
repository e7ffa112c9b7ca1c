"""Where loaded models came from, so that no output replaces their files."""

from collections.abc import Mapping
from typing import Any

from transformer_lens import HookedTransformer

from dissect.apart import check_apart
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.pair import ModelPair


def check_outputs(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Refuse outputs that something would be lost to, as `check_apart`; inputs may be loaded models and pairs too.

    Raises:
        DissectError: the first output that something would be lost to.
    """
    check_apart(outputs, {role: _places(value) for role, value in inputs.items()})


def _places(value: Any) -> Any:
    """Paths for models and pairs, whatever holds them; all else as it is."""
    if isinstance(value, HookedTransformer):
        info = checkpoint_or_none(value)
        return () if info is None else info.directories
    if isinstance(value, ModelPair):
        return [_places(model) for model in value.models().values()]
    if isinstance(value, Mapping):
        return [_places(each) for each in value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_places(each) for each in value]
    return value
