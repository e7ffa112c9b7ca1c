"""The files of a run that is under way: states from which it can continue, and its log.

They stand in ``<out>.partial`` until the finished checkpoint takes the name ``<out>``, and hold everything that a run
needs besides the model it began with, so that after a kill the same command continues to the same bits.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dissect.differences import first_difference
from dissect.errors import DissectError
from dissect.files import atomic_file, discard, naming
from dissect.locks import lock
from dissect.temporary import clear_leftovers, remove
from dissect.unlearning.run.run_state import State
from dissect.unlearning.run.sharded_state import WHOLE_PARTS, forget_parts, load_parts

log = logging.getLogger(__name__)

LOG_FILE = "unlearning.jsonl"
"""Log of a run, one event a line; it lies beside the weights of a finished run."""
BEST_FILE = "best.safetensors"
"""The weights to keep, of a run with ``keep='best'``."""
STATE_FILE = "state.safetensors"
"""The state of a run in one process; see ``sharded_state`` for that of several ranks."""
_RUN, _LOCK = "run.json", "lock"
_NO_RESULT = ("source", "checkpoint_every")
"""Keys that change no result: where the model was loaded from, and how often states are saved."""


class RunFiles:
    """The directory of a run that writes to ``out``.

    Raises:
        DissectError: it holds another run.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = out.with_name(out.name + ".partial")
        if self.path.exists() and not self.path.is_dir():
            raise DissectError(f"{self.path} must be a directory for the run, and is a file: move it away")
        clear_leftovers(self.path)
        marker = self.path / _RUN
        this_run = json.loads(json.dumps(identity))
        self._lock = None
        if marker.is_file():
            self._lock = _locked(self.path)
            if other := _difference(_read(marker), this_run):
                if not overwrite and self._has_state():
                    raise DissectError(
                        f"{self.path} holds an unfinished run of other settings ({other}): repeat those settings to "
                        "continue it, delete it, or ask for overwriting"
                    )
                self.remove()
        elif self.path.is_dir() and any(file.name[0] != "." and file.name != _LOCK for file in self.path.iterdir()):
            raise DissectError(f"{self.path} must be an unfinished run, and holds other files: move it away")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or _locked(self.path)
        for left in self.path.glob(".*"):  # of a write that was killed
            remove(left)
        if not marker.is_file():
            _write(marker, json.dumps(this_run, indent=1))

    def _has_state(self) -> bool:
        """Return True if there is anything to go on from; a run of other settings that has nothing gives way."""
        return any((self.path / name).is_file() for name in (STATE_FILE, WHOLE_PARTS))

    @staticmethod
    def was_written_by(out: Path, identity: Mapping[str, Any]) -> bool:
        """Return True if ``out`` is the end of this very run, which was killed before it could remove its files."""
        return out.with_name(out.name + ".partial").is_dir() and RunFiles.is_of(out, identity)

    @staticmethod
    def clear(out: Path, identity: Mapping[str, Any]) -> None:
        """Remove the files of this very run, whose end is in ``out``, if it was killed before it could."""
        path = out.with_name(out.name + ".partial")
        for place in (Path(os.path.realpath(out)), path):
            clear_leftovers(place)
        if not (path / _RUN).is_file() or _difference(_read(path / _RUN), json.loads(json.dumps(identity))):
            return
        with _locked(path):
            discard(path)

    @staticmethod
    def is_of(out: Path, identity: Mapping[str, Any]) -> bool:
        """Return True if ``out`` is a finished checkpoint of this run."""
        file = out / LOG_FILE
        if not file.is_file():
            return False
        with file.open(encoding="utf-8") as lines:
            try:
                first = json.loads(lines.readline() or "{}")
            except json.JSONDecodeError:
                return False
        this_run = json.loads(json.dumps(identity))
        return not _difference({key: first.get(key) for key in this_run}, this_run)

    def save(self, state: State) -> None:
        """Replace the saved state, completely or not at all."""
        self._save(state, STATE_FILE)
        if (self.path / WHOLE_PARTS).is_file():  # several ranks began the run
            forget_parts(self.path)

    def save_best(self, state: State) -> None:
        """Replace the weights to keep, completely or not at all."""
        self._save(state, BEST_FILE)

    def load_best(self) -> State | None:
        """Read the weights to keep, if there are any."""
        return self._load(BEST_FILE)

    def _save(self, state: State, name: str) -> None:
        tensors = state.tensors()
        axes = {name: _axes_in_memory(tensor) for name, tensor in tensors.items()}
        packed = {name: tensor.detach().permute(axes[name]).cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with atomic_file(self.path / name) as temporary:
                save_file(packed, temporary, metadata={"step": str(state.step), "axes": json.dumps(axes)})
        except (SafetensorError, OSError) as error:  # for instance a full disk
            raise DissectError(f"the state of the run cannot be written to {self.path}: {error}") from error

    def load(self, leaves: Mapping[str, Tensor] | None = None) -> State | None:
        """Read the saved state, if there is one.

        Args:
            leaves: tensors to read into, needed for a run that several ranks began.
        """
        if leaves is not None and (self.path / WHOLE_PARTS).is_file():
            return load_parts(self.path, leaves)
        return self._load(STATE_FILE)

    def _load(self, name: str) -> State | None:
        if not (self.path / name).is_file():
            return None
        try:
            with safe_open(self.path / name, framework="pt") as file:
                step = int(file.metadata()["step"])
                axes = json.loads(file.metadata().get("axes", "{}"))
                tensors = {key: _unpacked(file.get_tensor(key), axes.get(key)) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise DissectError(f"{self.path / name} is damaged ({error}): delete {self.path} to start over") from error
        return State.of(step, tensors)

    def begin(self) -> None:
        """Begin a new log with a line that says what the run is."""
        identity = json.loads((self.path / _RUN).read_text())
        _write(self.path / LOG_FILE, "")
        self.append({"event": "start", "step": 0, **identity})

    def append(self, event: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with naming(self.path / LOG_FILE), (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def events(self, before: int) -> list[dict[str, Any]]:
        """Cut the log off after step ``before`` (steps count from 1 there), and return the events that are left.

        A line that a kill cut short is dropped as well.
        """
        file, kept = self.path / LOG_FILE, []
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if event.get("step", 0) <= before:
                kept.append(event)
        _write(file, "".join(json.dumps(event) + "\n" for event in kept))
        return kept

    def remove(self) -> None:
        """Remove the directory: the run is over, or is not wanted."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        discard(self.path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read every event of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def may_be_a_run(out: Path) -> bool:
    """Return True if ``out`` is a run that is finished, or one that can be continued."""
    return bool(out.name) and (out.with_name(out.name + ".partial").is_dir() or (out / LOG_FILE).is_file())


def _locked(directory: Path) -> IO[str]:
    """Hold the run's directory until the file is closed or the process ends."""
    handle = (directory / _LOCK).open("w")
    if not lock(handle):
        handle.close()
        raise DissectError(f"another process is working on {directory}: wait for it, or choose another name")
    return handle


def _read(marker: Path) -> dict[str, Any]:
    try:
        return json.loads(marker.read_text())
    except json.JSONDecodeError as error:
        raise DissectError(f"{marker} is damaged ({error}): delete {marker.parent} to start over") from error


def _axes_in_memory(tensor: Tensor) -> list[int]:
    """Order of axes in which a tensor lies in memory: written in it, it need not be copied first."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: -strides[axis])


def _unpacked(tensor: Tensor, axes: Sequence[int] | None) -> Tensor:
    return tensor if axes is None else tensor.permute([axes.index(axis) for axis in range(tensor.ndim)])


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Where the identities of two runs first differ, in words; "" where they have the same result."""
    return first_difference(there, here, ignored=_NO_RESULT.__contains__)


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
