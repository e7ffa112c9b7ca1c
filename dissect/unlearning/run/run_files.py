"""The files of a run that is under way: states from which it goes on, and its log.

They stand in ``<out>.partial`` until the finished checkpoint takes the name ``<out>``, and hold everything that a run
needs besides the model it began with, so that after a kill the same command goes on to the same bits.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.unlearning.run.run_state import State
from dissect.unlearning.run.sharded_state import WHOLE_PARTS, forget_parts, load_parts

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOG_FILE = "unlearning.jsonl"
"""One line an event; beside the weights of a finished run."""
STATE_FILE = "state.safetensors"
"""The state of a run in one process; see ``sharded_state`` for that of several ranks."""
_RUN, _LOCK = "run.json", "lock"


class RunFiles:
    """The directory of a run that writes to ``out``.

    Raises:
        DissectError: it holds another run.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = out.with_name(out.name + ".partial")
        if self.path.exists() and not self.path.is_dir():
            raise DissectError(f"{self.path} is a file, the run's own directory is needed there: move it away")
        marker = self.path / _RUN
        wanted = json.loads(json.dumps(identity))
        self._lock = None
        if marker.is_file():
            self._lock = _locked(self.path)
            found = _read(marker)
            if _without_names(found) != _without_names(wanted):
                if not overwrite:
                    raise DissectError(
                        f"{self.path} holds an unfinished run of other settings ({_difference(found, wanted)}): give "
                        "those again to go on with it, delete it, or ask for overwriting"
                    )
                self.remove()
        elif self.path.is_dir() and any(file.name[0] != "." for file in self.path.iterdir()):
            raise DissectError(f"{self.path} is in the way and no unfinished run: move it away")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or _locked(self.path)
        for left in self.path.glob(".*"):  # of a write that was killed
            left.unlink()
        if not marker.is_file():
            _write(marker, json.dumps(wanted, indent=1))

    @staticmethod
    def was_written_by(out: Path, identity: Mapping[str, Any]) -> bool:
        """Whether ``out`` is the end of this very run, which was killed before it could put its files away."""
        return out.with_name(out.name + ".partial").is_dir() and RunFiles.is_of(out, identity)

    @staticmethod
    def is_of(out: Path, identity: Mapping[str, Any]) -> bool:
        """Whether ``out`` is a finished checkpoint of this run."""
        file = out / LOG_FILE
        if not file.is_file():
            return False
        with file.open(encoding="utf-8") as lines:
            try:
                first = json.loads(lines.readline() or "{}")
            except json.JSONDecodeError:
                return False
        wanted = json.loads(json.dumps(identity))
        return _without_names({key: first.get(key) for key in wanted}) == _without_names(wanted)

    def save(self, state: State) -> None:
        """Replace the state that is there, whole or not at all."""
        tensors = state.tensors()
        axes = {name: _axes_in_memory(tensor) for name, tensor in tensors.items()}
        packed = {name: tensor.detach().permute(axes[name]).cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with atomic_file(self.path / STATE_FILE) as temporary:
                save_file(packed, temporary, metadata={"step": str(state.step), "axes": json.dumps(axes)})
        except (SafetensorError, OSError) as error:  # for instance a full disk
            raise DissectError(f"the state of the run cannot be written to {self.path}: {error}") from error
        if (self.path / WHOLE_PARTS).is_file():  # several ranks began the run
            forget_parts(self.path)

    def load(self, leaves: Mapping[str, Tensor] | None = None) -> State | None:
        """The state that is there, if there is one.

        Args:
            leaves: needed for the state of a run that several ranks began: into such tensors it is read.
        """
        if leaves is not None and (self.path / WHOLE_PARTS).is_file():
            return load_parts(self.path, leaves)
        if not (self.path / STATE_FILE).is_file():
            return None
        try:
            with safe_open(self.path / STATE_FILE, framework="pt") as file:
                step = int(file.metadata()["step"])
                axes = json.loads(file.metadata().get("axes", "{}"))
                tensors = {key: _unpacked(file.get_tensor(key), axes.get(key)) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise DissectError(
                f"{self.path / STATE_FILE} is damaged ({error}): delete {self.path} to begin anew"
            ) from error
        return State.of(step, tensors)

    def begin(self) -> None:
        """A new log, which says what the run is."""
        identity = json.loads((self.path / _RUN).read_text())
        _write(self.path / LOG_FILE, "")
        self.append({"event": "start", "step": 0, **identity})

    def append(self, event: Mapping[str, Any]) -> None:
        """One more line of the log."""
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def events(self, before: int) -> list[dict[str, Any]]:
        """What the log says of the steps before ``before`` (steps count from 1 there); the rest of it is dropped.

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
        """The run is over, or is not wanted."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every event of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def may_be_a_run(out: Path) -> bool:
    """Whether ``out`` is a run that is finished, or one that may go on."""
    return bool(out.name) and (out.with_name(out.name + ".partial").is_dir() or (out / LOG_FILE).is_file())


def _without_names(identity: Mapping[str, Any]) -> dict[str, Any]:
    """A model is what it holds, wherever it was loaded from; and how often states are kept changes no result."""
    return {
        key: {k: v for k, v in value.items() if k not in ("source", "checkpoint_every")}
        if isinstance(value, dict)
        else value
        for key, value in identity.items()
    }


def _locked(directory: Path) -> IO[str] | None:
    """Hold the run's directory until the process ends; None where the system has no such locks."""
    if fcntl is None:
        return None
    handle = (directory / _LOCK).open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise DissectError(f"another process is working on {directory}: wait for it, or choose another name") from None
    return handle


def _read(marker: Path) -> dict[str, Any]:
    try:
        return json.loads(marker.read_text())
    except json.JSONDecodeError as error:
        raise DissectError(f"{marker} is damaged ({error}): delete {marker.parent} to begin anew") from error


def _axes_in_memory(tensor: Tensor) -> list[int]:
    """The order of axes in which a tensor lies in memory: so written, it need not be copied first."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: -strides[axis])


def _unpacked(tensor: Tensor, axes: Sequence[int] | None) -> Tensor:
    return tensor if axes is None else tensor.permute([axes.index(axis) for axis in range(tensor.ndim)])


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys: Sequence[str] = sorted(set(found) | set(wanted))
    for key in keys:
        if found.get(key) != wanted.get(key):
            if isinstance(found.get(key), dict) and isinstance(wanted.get(key), dict):
                return _difference(found[key], wanted[key])
            return f"{key} {found.get(key)!r:.60} there, {wanted.get(key)!r:.60} here"
    return "nothing"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
