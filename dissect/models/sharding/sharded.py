"""Models that no rank holds whole: FSDP2 on a hooked model, and the door through which its parameters are used.

Every block is a unit that is gathered when it runs and let go afterwards; so are the embedding, the unembedding, and
what is left of the model. Hooks, names and methods of the model stay what they were. FSDP2 gathers parameters
where a module is *called*; dissect runs blocks piece by piece and reads the unembedding directly, so whatever does that
goes through ``within``. For a model that is not sharded that is a call of the function and nothing else.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from transformer_lens import HookedTransformer

from dissect.distributed import World
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.build import make_contiguous
from dissect.models.modules import TiedUnembed
from dissect.models.sharding.shards import is_shard
from dissect.undoing.change import undone

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

SWEEP = "sweep"
"""Name of the mesh dimension along which whole models repeat, so that each copy can do its own cells of a sweep."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Sharding:
    """Layout of a model on its ranks. It is ``model.sharding``."""

    mesh: "DeviceMesh"
    """All of it, with the dimension ``sweep`` if there is one."""
    over: "DeviceMesh"
    """The mesh that parameters are sharded over; with two dimensions they repeat along the first and only gradients are
    summed along both."""

    @property
    def share(self) -> World:
        """This rank's part of a training step's texts: its place in ``over``."""
        return World(_flat(self.over), self.over.size())

    @property
    def replica(self) -> World:
        """The copy of the model that this rank belongs to."""
        names = self.mesh.mesh_dim_names or ()
        if SWEEP not in names:
            return World()
        axis = names.index(SWEEP)
        return World(self.mesh.get_local_rank(axis), self.mesh.size(axis))

    @property
    def leads(self) -> bool:
        """True if this rank is the first of its copy, which speaks for it."""
        coordinate = self.over.get_coordinate()
        return coordinate is not None and not any(coordinate)

    @property
    def writes(self) -> bool:
        """True if this rank is the one of all that writes a checkpoint."""
        coordinate = self.mesh.get_coordinate()
        return coordinate is not None and not any(coordinate)


def is_sharded(module: nn.Module) -> bool:
    """Return whether FSDP2 manages the parameters of this very module."""
    return hasattr(module, "unshard")


def share_of(model: HookedTransformer) -> World:
    """Return this rank's part of the texts of a training step: all of them where the model is not sharded."""
    return model.sharding.share if is_sharded(model) else World()


@keywords()
def shard(
    model: HookedTransformer,
    mesh: "DeviceMesh",
    *,
    compute_dtype: torch.dtype | None = None,
    reduce_dtype: torch.dtype = torch.float32,
) -> HookedTransformer:
    """Shard a model in place over the ranks of ``mesh``; each has to have it, or an empty one of its shapes.

    ``dissect.load(path, mesh=mesh)`` does the same without ever holding the whole model.

    Args:
        mesh: one dimension, over which parameters are sharded; two, where they repeat along the first; or with a
            dimension named ``sweep``, along which whole models repeat.
        compute_dtype: format in which the forward and backward passes run, if not that of the parameters.
        reduce_dtype: format in which gradients are summed over the ranks.

    Raises:
        DissectError: the model is sharded already, or this torch cannot do it.

    Example:
        >>> from dissect.distributed import mesh, started
        >>> with started():  # under torchrun, with one process a rank  # doctest: +SKIP
        ...     model = dissect.shard(dissect.load("runs/demo/base"), mesh())
    """
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    # It warns of every result that is a view, such as logits, because writing into one would hide it from autograd.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    if is_sharded(model):
        raise DissectError("the model is sharded already: load it again to shard it in another way")
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise DissectError(f"sharded models need torch 2.8 or newer, this is {torch.__version__}")
    over = _sharded_over(mesh)
    if not next(model.parameters()).is_meta:
        make_contiguous(model)
    # reduce_dtype follows float64, which only a test of exactness uses
    widest = torch.promote_types(reduce_dtype, next(model.parameters()).dtype)
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=widest)
    ranks = over.size(over.ndim - 1)
    settings: dict[str, Any] = {
        "mesh": over,
        "mp_policy": policy,
        "reshard_after_forward": True,
        "shard_placement_fn": lambda parameter: _placement(parameter, ranks),
    }
    unit: Any
    for unit in _units(model):
        fully_shard(unit, **settings)
        # The losses are sums over a step's texts, divided by the count of the whole step: gradients add up.
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    model.sharding = Sharding(mesh, over)
    if compute_dtype is not None:
        model.cfg.dtype = compute_dtype
        for name, buffer in list(model.named_buffers()):  # rotary angles, which activations are multiplied with
            if buffer.is_floating_point():
                parent, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(parent), leaf, buffer.to(compute_dtype))
    return model


def within(module: nn.Module, function: Callable[..., _Result], *args: Any) -> _Result:
    """``function(*args)`` with the parameters of ``module`` (not those of sharded modules in it) whole; collective.

    Gradients flow as through a call of the module: what ``args`` and the result hold of tensors is differentiated, and
    parameters are gathered again for the backward pass. Inside the body it may be asked for again.
    """
    if not is_sharded(module) or getattr(module, "_dissect_whole", False):
        return function(*args)
    # FSDP2 learns from the first run which module is the outermost: the model itself, whose embedding runs first
    if not torch.is_grad_enabled() and getattr(module, "_dissect_ran", False):
        with whole(module):
            return function(*args)
    if "_dissect_run" not in module.__dict__:
        from torch.distributed.fsdp import register_fsdp_forward_method

        module._dissect_run = MethodType(_run, module)  # type: ignore[assignment]
        register_fsdp_forward_method(module, "_dissect_run")
    module._dissect_ran = True  # type: ignore[assignment]
    result: _Result = module._dissect_run(function, *args)  # type: ignore[operator]
    return result


@undone
def whole(module: nn.Module) -> Iterator[None]:
    """In the body the parameters of ``module`` are ordinary whole tensors, to be read and not written; collective."""
    if not is_sharded(module) or not _in_parts(module):
        yield  # in a larger body, or in a backward pass, which still needs them afterwards
        return
    if not getattr(module, "_dissect_ran", False):
        within(module, lambda: None)
    module.unshard()  # type: ignore[operator]
    module._dissect_whole = True  # type: ignore[assignment]
    try:
        yield
    finally:
        module._dissect_whole = False  # type: ignore[assignment]
        module.reshard()  # type: ignore[operator]


@undone
def whole_head(model: HookedTransformer) -> Iterator[None]:
    """Gather all that stands after the blocks in the body: final norm and unembedding."""
    with whole(model), whole(model.unembed):
        yield


def _run(module: nn.Module, function: Callable[..., _Result], *args: Any) -> _Result:
    module._dissect_whole = True  # type: ignore[assignment]
    try:
        return function(*args)
    finally:
        module._dissect_whole = False  # type: ignore[assignment]


def _units(model: HookedTransformer) -> list[nn.Module]:
    """Return the units gathered at a time. A tied embedding stays with the rest of the model: both its uses read it."""
    ends = [] if isinstance(model.unembed, TiedUnembed) else [model.embed, model.unembed]
    return [*model.blocks, *ends, model]


def _in_parts(module: nn.Module) -> bool:
    """Return whether the parameters of a unit are shards now; those of units in it do not count."""
    if "_dissect_probe" not in module.__dict__:
        module._dissect_probe = next(_owned(module), None)  # type: ignore[assignment]
    probe: Any = module.__dict__["_dissect_probe"]
    return probe is not None and is_shard(getattr(*probe))


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for leaf, _ in module.named_parameters(recurse=False):
        yield module, leaf
    for child in module.children():
        if not is_sharded(child):
            yield from _owned(child)


def _placement(parameter: nn.Parameter, ranks: int) -> Any:
    """The first axis that divides evenly, so that shares are equal; else the first of all."""
    from torch.distributed.tensor import Shard

    even = [axis for axis, size in enumerate(parameter.shape) if size % ranks == 0]
    return Shard(even[0]) if even else Shard(0)


def _sharded_over(mesh: "DeviceMesh") -> "DeviceMesh":
    names = mesh.mesh_dim_names or ()
    if SWEEP not in names:
        over = mesh
    else:
        rest = tuple(name for name in names if name != SWEEP)
        if not rest:
            raise DissectError("the mesh has no dimension but 'sweep': add one to shard over, for instance 'shard'")
        over = mesh[rest if len(rest) > 1 else rest[0]]
    if over.ndim > 1 and over is not mesh:
        raise DissectError(f"copies for a sweep are sharded over one dimension, {names} has {over.ndim} beside 'sweep'")
    if over.ndim > 2:
        raise DissectError(f"a model is sharded over one or two dimensions of a mesh, this one has {over.ndim}")
    return over


def _flat(mesh: "DeviceMesh") -> int:
    rank = 0
    for axis in range(mesh.ndim):
        rank = rank * mesh.size(axis) + mesh.get_local_rank(axis)
    return rank
