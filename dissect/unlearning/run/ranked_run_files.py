"""The files of a run of several ranks: one directory, one lock and one log, and states that every rank writes."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dissect.distributed import is_main, on_main
from dissect.files import atomic_file
from dissect.unlearning.run.run_files import STATE_FILE, RunFiles
from dissect.unlearning.run.run_state import State
from dissect.unlearning.run.sharded_state import WHOLE_PARTS, readable


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
        """Replace the saved state; collective."""
        import torch.distributed.checkpoint as dcp

        directory = self.path / f"state-{state.step}"
        on_main(lambda: shutil.rmtree(directory, ignore_errors=True))  # of a write that was killed
        with readable(f"the state of the run cannot be written to {self.path}"):
            dcp.save(state.tensors(), checkpoint_id=directory)
        on_main(lambda: self._point_to(directory, state.step))

    def load(self, leaves: Mapping[str, Tensor] | None = None) -> State | None:
        """Read the saved state, in parts as ``leaves`` are; collective."""
        return super().load(leaves)

    def begin(self) -> None:
        """Begin a new log."""
        on_main(super().begin)

    def append(self, event: Mapping[str, Any]) -> None:
        """Add a line to the log, which rank 0 alone writes."""
        if is_main():
            super().append(event)

    def events(self, before: int) -> list[dict[str, Any]]:
        """Cut the log off after step ``before``, and return the events that are left."""
        return on_main(lambda: super(RankedRunFiles, self).events(before))

    def remove(self) -> None:
        """Remove the directory: the run is over, or is not wanted."""
        on_main(super().remove)

    def _point_to(self, directory: Path, step: int) -> None:
        with atomic_file(self.path / WHOLE_PARTS) as temporary:
            temporary.write_text(json.dumps({"directory": directory.name, "step": step}), encoding="utf-8")
        (self.path / STATE_FILE).unlink(missing_ok=True)
        for other in self.path.glob("state-*"):
            if other != directory:
                shutil.rmtree(other, ignore_errors=True)
