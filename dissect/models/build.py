"""An empty hooked model: every parameter in place, none of them in memory yet."""

import ctypes
import sys
import warnings
from collections.abc import Iterable

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from torch import nn
from transformer_lens import HookedTransformer, HookedTransformerConfig

from dissect.models.families.family import Family
from dissect.models.layout import constant_of
from dissect.models.modules import TiedUnembed, use_rotary_tables


def build_empty(family: Family, cfg: HookedTransformerConfig, *, tied: bool) -> HookedTransformer:
    """A hooked model in evaluation mode whose parameters are on the meta device and whose buffers are real.

    With ``tied`` the output head reads the embedding and has no matrix of its own.
    """
    with init_empty_weights(include_buffers=False):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
            model = HookedTransformer(cfg, move_to_device=False)
        if family.adapt is not None:
            family.adapt(model)
    use_rotary_tables(model)
    if tied:
        model.unembed = TiedUnembed(model.unembed, model.embed)
    model.setup()  # names the modules that were replaced, and lists their hooks
    return model.eval()


def put_parameter(model: HookedTransformer, name: str, value: torch.Tensor, *, requires_grad: bool) -> None:
    """Make ``value`` the parameter ``name`` of ``model``."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=requires_grad))


def fill_constants(
    model: HookedTransformer, family: Family, names: Iterable[str], *, dtype: torch.dtype, device: torch.device
) -> None:
    """Give the parameters ``names``, which the checkpoint does not have, their constant values, without gradient."""
    for name in names:
        value = constant_of(family, name)
        if value is None:
            raise RuntimeError(f"the weight map of {family.architecture} misses {name}")
        shape = model.get_parameter(name).shape
        put_parameter(model, name, torch.full(shape, value, dtype=dtype, device=device), requires_grad=False)


def make_contiguous(model: HookedTransformer) -> None:
    """Bring every parameter into the order of its own axes, in place, as FSDP2 demands before ``fully_shard``.

    Values, names and the tie of an embedding stay. Without FSDP2 it is better left undone: TransformerLens then
    transposes every matrix in every forward pass.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()


def unload(model: HookedTransformer) -> None:
    """Give the memory of the parameters back; ``dissect.models.files.load.reload`` fills them again.

    Names, shapes, hooks, configuration and tokenizer stay. The buffers, which are small, stay as well.
    """
    for name, parameter in list(model.named_parameters()):
        put_parameter(model, name, torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
    _return_freed_memory()


def _return_freed_memory() -> None:
    """Have the C library hand freed memory to the system.

    glibc keeps freed blocks of up to 32 MB, as most weights of a small model are, for the next allocation; a process
    that never holds two models would still be seen to hold most of them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
