"""Finished cells on disk, so that a sweep that was interrupted goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from dissect.errors import DissectError

Row = dict[str, np.ndarray]


class Journal:
    """A JSON-lines file: a line that says which sweep this is, then one for each finished cell of each batch.

    Floats are written so that reading gives the same bits. A line that a kill cut short is dropped when the file is
    opened again; ``finish`` removes the file once the result stands elsewhere.
    """

    def __init__(self, path: str | os.PathLike[str], sweep: Mapping[str, Any]) -> None:
        """Open the journal of ``sweep`` at ``path``, reading what an earlier run left.

        Raises:
            DissectError: the file is the journal of another sweep, or no journal.
        """
        self.path = Path(path)
        self._key = hashlib.sha256(json.dumps(sweep, sort_keys=True, default=str).encode()).hexdigest()
        self._rows: dict[int, dict[int, Row]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            self._read()
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        if self._file.tell() == 0:
            self._line({"journal": "dissect-sweep", "sweep": self._key})

    def __len__(self) -> int:
        """Number of finished cells, each batch counted."""
        return sum(map(len, self._rows.values()))

    def rows(self, batch: int) -> dict[int, Row]:
        """The finished rows of a batch by their number; by metric, one value a prompt."""
        return self._rows.get(batch, {})

    def write(self, batch: int, index: int, row: Row) -> None:
        """Add a finished row; it is in the operating system's hands when this returns."""
        self._rows.setdefault(batch, {})[index] = row
        self._line({"batch": batch, "row": index, "values": {name: v.tolist() for name, v in row.items()}})

    def finish(self) -> None:
        """Remove the file: the sweep is complete and stored."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _line(self, content: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()

    def _read(self) -> None:
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break  # cut short by a kill
                self._take(number, line)
                whole += len(line)
        os.truncate(self.path, whole)

    def _take(self, number: int, line: bytes) -> None:
        try:
            content = json.loads(line)
            if number == 0:
                ours = content["journal"] == "dissect-sweep" and content["sweep"] == self._key
            else:
                row = {name: np.array(values, dtype=np.float64) for name, values in content["values"].items()}
                self._rows.setdefault(content["batch"], {})[content["row"]] = row
                ours = True
        except (ValueError, KeyError, TypeError) as error:
            raise DissectError(f"{self.path} is damaged at line {number + 1}: delete it to begin anew") from error
        if not ours:
            raise DissectError(f"{self.path} belongs to another sweep: delete it, or write to another file")
