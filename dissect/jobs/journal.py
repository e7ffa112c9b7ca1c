"""Finished cells on disk, so that a sweep, or other work in parts, goes on where it was interrupted."""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from dissect.errors import JobError
from dissect.files import naming
from dissect.locks import lock

JournalRow = dict[str, Any]
"""One finished row: of a sweep, metric to an array of one value a prompt; of other work whatever JSON holds."""
BatchKey = int | str
"""Its number; of other work the name of a part."""
Finished = dict[BatchKey, dict[int, JournalRow]]
"""Finished rows, by batch and number."""
_HEAD = {"journal": "dissect-sweep"}
"""How the first line begins."""


def key_of(sweep: Mapping[str, Any]) -> str:
    """Hash that tells one sweep from another."""
    return hashlib.sha256(json.dumps(sweep, sort_keys=True, default=str).encode()).hexdigest()


class OtherWork(JobError):
    """A journal of other work stands where one is to be."""


class Journal:
    """A JSON-lines file: a line that says which sweep this is, then one for each finished cell of each batch.

    Floats are written so that reading gives the same bits. A line that a kill cut short is dropped when the file is
    opened again. While it is open no other process can open it.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        """Open the journal of the sweep ``key`` at ``path``, reading what an earlier run left.

        Raises:
            JobError: the file is the journal of another sweep, or no journal, or in use.
        """
        self.path = Path(path)
        self.rows: Finished = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self.path.open("ab+")
        if not lock(self._file):
            self._file.close()
            raise JobError(f"another process is working on {self.path}: wait for it, or choose another name")
        try:
            reader = Reader(self.path, key)
            reader.read(self.rows)
            self._check_cut(reader.offset)
            os.truncate(self.path, reader.offset)  # a line cut short by a kill
            if reader.offset == 0:
                self._line({**_HEAD, "sweep": key})
            self._line({"opened": True})
        except BaseException:
            self._file.close()
            raise

    def write(self, batch: BatchKey, index: int, row: JournalRow) -> None:
        """Add a finished row; it is in the operating system's hands when this returns."""
        self.rows.setdefault(batch, {})[index] = row
        self._line({"batch": batch, "row": index, "values": {name: _packed(v) for name, v in row.items()}})

    @contextmanager
    def at_work(self, seconds: float) -> Iterator[None]:
        """In the body a line is added every so many seconds, for those who wait for this process; and nothing else."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(seconds):
                self._line({"at work": True})

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()

    def leave(self) -> None:
        """Say that this process needs nobody's journal any more."""
        self._line({"left": True})

    def remove(self) -> None:
        """Remove the file: its rows stand elsewhere."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file to whoever goes on with it."""
        self._file.close()

    def _check_cut(self, offset: int) -> None:
        """What is cut off is a line of a journal: a file of one long line may be somebody's."""
        head = json.dumps(_HEAD).encode()[:-1]
        with self.path.open("rb") as file:
            if offset == 0 and not head.startswith(file.read(len(head))):
                raise JobError(f"{self.path} is no journal: move it away, or write to another file")

    def _line(self, content: Mapping[str, Any]) -> None:
        with naming(self.path):
            self._file.write(json.dumps(content).encode() + b"\n")
            self._file.flush()


class Reader:
    """Reads a journal, also while another process writes it."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        self.offset = 0
        """Bytes read: whole lines."""
        self.left = False
        """True if its process, the latest that opened it, has said that it needs nobody's journal any more."""
        self._number = 0

    def read(self, into: Finished) -> None:
        """Put the rows that were added since the last time into ``into``.

        Raises:
            JobError: the file is the journal of another sweep, or no journal.
            FileNotFoundError: it is gone.
        """
        for line in self._lines():
            self._take(line, into)
            self._number += 1
            self.offset += len(line)

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # cut short by a kill, or being written
                yield line

    def _take(self, line: bytes, into: Finished) -> None:
        try:
            content = json.loads(line)
            if self._number == 0:
                if content["journal"] != _HEAD["journal"] or content["sweep"] != self._key:
                    raise OtherWork(
                        f"{self.path} was begun with other models, facts, settings or versions: delete it, or write "
                        "to another file"
                    )
            elif "batch" in content:
                row = {name: _unpacked(values) for name, values in content["values"].items()}
                into.setdefault(content["batch"], {})[content["row"]] = row
            else:
                self.left = bool(content.get("left"))
        except JobError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{self.path} is damaged at line {self._number + 1}: delete it to begin anew") from error


def _packed(values: Any) -> Any:
    """Numbers that can be read, one a prompt; larger tables as bytes; anything else as JSON has it."""
    if not isinstance(values, np.ndarray):
        return {"json": values}
    if values.ndim < 2:
        return values.tolist()
    table = np.ascontiguousarray(values, dtype="<f8")
    return {"shape": table.shape, "float64": base64.b64encode(table.tobytes()).decode()}


def _unpacked(values: Any) -> Any:
    if isinstance(values, dict) and "json" in values:
        return values["json"]
    if not isinstance(values, dict):
        return np.array(values, dtype=np.float64)
    table = np.frombuffer(base64.b64decode(values["float64"]), dtype="<f8")
    return table.reshape(values["shape"]).astype(np.float64)
