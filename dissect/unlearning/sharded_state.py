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
from typing import Any

import torch
from torch import Tensor

from dissect.distributed import is_main, on_main
from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.unlearning.run_files import STATE_FILE, WHOLE_PARTS, RunFiles
from dissect.unlearning.states import State


class RankedRunFiles(RunFiles):
    """The directory of a run of several ranks: rank 0 holds its lock and writes its log, states are written by all.

    All ranks have to see the same file system.

    Raises:
        DissectError: as ``RunFiles``, on every rank.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = out.with_name(out.name + ".partial")
        self._lock = None
        on_main(lambda: super(RankedRunFiles, self).__init__(out, identity, overwrite=overwrite))

    def save(self, state: State) -> None:
        """Replace the state that is there; collective."""
        import torch.distributed.checkpoint as dcp

        directory = self.path / f"state-{state.step}"
        on_main(lambda: shutil.rmtree(directory, ignore_errors=True))  # of a write that was killed
        with _readable(f"the state of the run cannot be written to {self.path}"):
            dcp.save(state.tensors(), checkpoint_id=directory)
        on_main(lambda: self._point_to(directory, state.step))

    def load(self, leaves: Mapping[str, Tensor] | None = None) -> State | None:
        """The state that is there, in parts as ``leaves`` are; collective."""
        return super().load(leaves)

    def begin(self) -> None:
        """A new log."""
        on_main(super().begin)

    def append(self, event: Mapping[str, Any]) -> None:
        """One more line of the log; only rank 0 has one."""
        if is_main():
            super().append(event)

    def events(self, before: int) -> list[dict[str, Any]]:
        """What the log says of the steps before ``before``."""
        return on_main(lambda: super(RankedRunFiles, self).events(before))

    def remove(self) -> None:
        """The run is over, or is not wanted."""
        on_main(super().remove)

    def _point_to(self, directory: Path, step: int) -> None:
        with atomic_file(self.path / WHOLE_PARTS) as temporary:
            temporary.write_text(json.dumps({"directory": directory.name, "step": step}), encoding="utf-8")
        (self.path / STATE_FILE).unlink(missing_ok=True)
        for other in self.path.glob("state-*"):
            if other != directory:
                shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Errors of torch's checkpoints, which hold those of all ranks, as one line."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except (CheckpointException, OSError, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[-1]
        raise DissectError(f"{what}: {reason or type(error).__name__}") from error


def load_parts(path: Path, leaves: Mapping[str, Tensor]) -> State | None:
    """The state that several ranks left in the directory of a run, if there is one; in parts as ``leaves`` are.

    Raises:
        DissectError: it is damaged.
    """
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    marker = path / WHOLE_PARTS
    if not marker.is_file():
        return None
    with _readable(f"{marker} or what it names is damaged, delete {path} to begin anew"):
        whole = json.loads(marker.read_text(encoding="utf-8"))
        directory = path / whole["directory"]
        stored = dcp.FileSystemReader(directory).read_metadata().state_dict_metadata
        found: dict[str, Tensor] = {}
        for key in stored:
            kind, _, name = key.partition("/")
            leaf = leaves[name].detach()
            found[key] = torch.zeros((), dtype=torch.float32) if kind == "step" else torch.zeros_like(leaf)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # that one process reads is meant
            dcp.load(found, checkpoint_id=directory, no_dist=not dist.is_initialized())
    return State.of(int(whole["step"]), found)
