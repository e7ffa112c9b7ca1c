"""Parameters that change places with others for a while."""

from collections.abc import Iterable

from jaxtyping import Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_or_none, mark_changed
from dissect.undoing.change import Change


def exchanged(
    model: HookedTransformer, values: Iterable[tuple[str, Shaped[Tensor, "..."]]], why: str
) -> Change[HookedTransformer]:
    """``model`` with other values of some parameters in the body; ``how`` tells the change from others.

    The tensors themselves change places and none is written into, so undoing it is exact to the bit, whatever the body
    does with the model, and also after an exception or Ctrl-C. In the body the model's fingerprint is another one.

    Args:
        values: name and new value of each parameter, taken one after another.
    """
    before = checkpoint_or_none(model)
    kept: dict[str, Tensor] = {}

    def exchange() -> None:
        for name, value in values:
            parameter = model.get_parameter(name)
            kept[name] = parameter.data
            parameter.data = value
        mark_changed(model, why)

    def put_back() -> None:
        for name, own in kept.items():
            model.get_parameter(name).data = own
        if before is not None:
            model.checkpoint = before

    return Change(model, exchange, put_back)


def check_in_memory(model: HookedTransformer) -> None:
    """Refuse a model that its pair has put aside.

    Raises:
        DissectError: its weights are not in memory.
    """
    if model.embed.W_E.is_meta:
        raise DissectError("the model's weights are not in memory: load the pair without sequential=True")
