"""The states of a run whose leaves lie on several ranks: each writes its part, and any number of ranks reads them back.

They are checkpoints of ``torch.distributed.checkpoint``, one directory a state. A file beside them names the one that
is whole, and takes its new content in one step, so that a rank that dies while it writes leaves the state before.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.run.run_state import State

WHOLE_PARTS = "state.json"
"""File that names the directory of the last complete state of several ranks, and its step."""


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn errors of torch's checkpoints, which hold those of all ranks, into one line."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except (CheckpointException, OSError, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[-1]
        raise DissectError(f"{what}: {reason or type(error).__name__}") from error


def load_parts(path: Path, leaves: Mapping[str, Tensor]) -> State | None:
    """Read the state that several ranks saved in the directory of a run, if there is one; in parts as ``leaves`` are.

    Raises:
        DissectError: it is damaged.
    """
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    marker = path / WHOLE_PARTS
    if not marker.is_file():
        return None
    with readable(f"{marker} or what it names is damaged, delete {path} to start over"):
        whole = json.loads(marker.read_text(encoding="utf-8"))
        directory = path / whole["directory"]
        stored = dcp.FileSystemReader(directory).read_metadata().state_dict_metadata
        tensors: dict[str, Tensor] = {}
        for key in stored:
            kind, _, name = key.partition("/")
            leaf = leaves[name].detach()
            tensors[key] = torch.zeros((), dtype=torch.float32) if kind == "step" else torch.zeros_like(leaf)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # that one process reads is meant
            dcp.load(tensors, checkpoint_id=directory, no_dist=not dist.is_initialized())
    return State.of(int(whole["step"]), tensors)


def forget_parts(path: Path) -> None:
    """Remove the states that ranks left in parts."""
    (path / WHOLE_PARTS).unlink(missing_ok=True)
    for left in path.glob("state-*"):
        shutil.rmtree(left, ignore_errors=True)
