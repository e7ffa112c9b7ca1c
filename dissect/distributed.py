"""Ranks and process groups: the one module that knows of them.

Several processes are started by `torchrun` (or anything else that sets its environment variables); each finds out here
which one it is. In a single process nothing of `torch.distributed` is touched.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from dissect.errors import DissectError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_Result = TypeVar("_Result")

TIMEOUT_VARIABLE = "DISSECT_TIMEOUT"
"""Environment variable with the seconds for which a rank waits for the others."""
DEFAULT_TIMEOUT = 600.0
"""Seconds. A rank that died is noticed at once where the connection to it breaks, and after this where it hangs."""
_LOST = re.compile(
    r"closed by peer|connection (reset|refused)|broken pipe|timed? ?out|unreachable|remote process", re.IGNORECASE
)


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    """From 0, over all machines."""
    size: int = 1
    local_rank: int = 0
    """On this machine: the number of its GPU."""


def world() -> World:
    """This process among those that were started together; the only one where nothing says otherwise.

    Raises:
        DissectError: the environment says that there are several processes but not which one this is.
    """
    if _initialised():
        import torch.distributed as dist

        return World(dist.get_rank(), dist.get_world_size(), _number("LOCAL_RANK", dist.get_rank()))
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return World()
    if "RANK" not in os.environ:
        raise DissectError(f"WORLD_SIZE is {size} but RANK is not set: start the processes with torchrun")
    rank = _number("RANK", 0)
    if not 0 <= rank < size:
        raise DissectError(f"RANK is {rank} of WORLD_SIZE {size}: start the processes with torchrun")
    return World(rank, size, _number("LOCAL_RANK", rank))


def is_main() -> bool:
    """Return True if this process is the one that writes what all have in common."""
    return world().rank == 0


def seconds_to_wait(timeout: int | float | None = None) -> float:
    """How long a rank waits for the others: ``timeout``, else ``DISSECT_TIMEOUT``, else ten minutes.

    Raises:
        DissectError: not a positive number.
    """
    if timeout is None and TIMEOUT_VARIABLE not in os.environ:
        return DEFAULT_TIMEOUT
    name, value = ("timeout", timeout) if timeout is not None else (TIMEOUT_VARIABLE, os.environ[TIMEOUT_VARIABLE])
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise DissectError(f"{name}={value!r} is no number of seconds: give for example 600")
    return seconds


@contextmanager
def started(timeout: int | float | None = None, *, device: str | None = None) -> Iterator[World]:
    """In the body the processes can talk to each other: NCCL between GPUs, gloo between CPUs.

    A single process, and a group that is there already, are left as they are. When another rank dies or hangs, this
    one fails within ``timeout`` seconds, with an error that says so.

    Args:
        device: ``cpu`` or ``cuda``, of the models; by default the GPUs if there are any.

    Raises:
        DissectError: the others cannot be reached, or one was lost on the way.
    """
    here = world()
    if here.size == 1:
        yield here
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield here
        return
    seconds = seconds_to_wait(timeout)
    with lost_ranks(here, seconds):
        on_gpu = (device or ("cuda" if torch.cuda.is_available() else "cpu")).startswith("cuda")
        if on_gpu:
            torch.cuda.set_device(here.local_rank)
        # gloo beside NCCL: states and what ranks tell each other lie on the CPU
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
        try:
            yield here
            dist.barrier()  # nobody leaves while another still works: what is missing afterwards is a lost rank
        finally:
            dist.destroy_process_group()


@contextmanager
def lost_ranks(here: World, seconds: int | float) -> Iterator[None]:
    """Turn what the transport says when another rank is gone into an error that a user can read."""
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if not _LOST.search(said):
            raise
        raise DissectError(
            f"rank {here.rank} of {here.size} lost another rank, which died or did not answer for {seconds:g} s "
            f"({said[:160]}): see its own output, then start the job again"
        ) from error


def barrier() -> None:
    """Wait until every rank is here; nothing where there is no group."""
    if _initialised():
        import torch.distributed as dist

        dist.barrier()


def mesh(*, sweep: int = 1, replicate: int = 1, device: str | None = None) -> "DeviceMesh":
    """All ranks of the group as a mesh to shard models over.

    Args:
        sweep: so many whole models, each on an equal part of the ranks, that take cells of a sweep each.
        replicate: the same for training: so many copies, whose gradients are summed.
        device: ``cpu`` or ``cuda``; by default as ``started`` chooses.

    Raises:
        DissectError: there is no group, or it cannot be cut like that.
    """
    if not _initialised():
        raise DissectError(
            "a mesh is of several processes that are connected: start them with torchrun, and make it in "
            "`with dissect.distributed.started():`"
        )
    if sweep > 1 and replicate > 1:
        raise DissectError("a mesh is for sweeps or for training: give sweep or replicate")
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    size, copies = dist.get_world_size(), max(sweep, replicate)
    if copies < 1 or size % copies:
        raise DissectError(f"{size} processes cannot be cut into {copies} equal parts")
    if copies == 1:
        return init_device_mesh(kind, (size,), mesh_dim_names=("shard",))
    first = "sweep" if sweep > 1 else "replicate"
    return init_device_mesh(kind, (copies, size // copies), mesh_dim_names=(first, "shard"))


def on_main(function: Callable[[], _Result]) -> _Result:
    """Call ``function`` on rank 0 alone and return its result on every rank; it is pickled.

    Raises:
        DissectError: on every rank, if the function raises it.
    """
    if not _initialised():
        return function()
    import torch
    import torch.distributed as dist

    held: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            held = [function(), None]
        except DissectError as error:
            held = [None, error]
    dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    if held[1] is not None:
        raise held[1]
    result: _Result = held[0]
    return result


def tell(value: Any, mesh: "DeviceMesh") -> Any:
    """Return the first rank's value on all ranks of a one-dimensional mesh; it is pickled."""
    import torch
    import torch.distributed as dist

    group, held = mesh.get_group(), [value]
    dist.broadcast_object_list(held, src=dist.get_global_rank(group, 0), group=group, device=torch.device("cpu"))
    return held[0]


def all_gather_objects(value: _Result) -> list[_Result]:
    """Return the values of all ranks, in the order of the ranks; they are pickled."""
    if not _initialised():
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def summed(values: list[float], *, over: int | None = None) -> list[float]:
    """Each of the numbers added up over all ranks, in float64; as they are where only one (``over=1``) has them."""
    if over == 1 or not _initialised():
        return values
    import torch
    import torch.distributed as dist

    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)  # gloo, which is there for CPU tensors whatever the models are on
    return total.tolist()


def _initialised() -> bool:
    """Return True if there is a group of several; where torch was not imported there is none."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise DissectError(f"{name} is {value!r}, a number is needed: start the processes with torchrun") from None
