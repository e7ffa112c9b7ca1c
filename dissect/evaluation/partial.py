"""What is finished of an evaluation lies beside its file until all of it is: one file a checkpoint."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.evaluation.result import Evaluation
from dissect.files import atomic_file

SPEC_FILE = "evaluation.json"


class Partial:
    """The directory ``<out>.partial``."""

    def __init__(self, out: Path, spec: Mapping[str, Any]) -> None:
        """Begin, or go on with what was begun in the same way.

        Raises:
            DissectError: what is there was begun in another way.
        """
        self.directory = out.with_name(out.name + ".partial")
        begun, text = self.directory / SPEC_FILE, json.dumps(spec, sort_keys=True, indent=1)
        if not begun.is_file():
            self.directory.mkdir(parents=True, exist_ok=True)
            with atomic_file(begun) as temporary:
                temporary.write_text(text, encoding="utf-8")
        elif begun.read_text(encoding="utf-8") != text:
            raise DissectError(
                f"{self.directory} holds an evaluation that was begun with other facts, settings or versions: delete "
                "it, or choose another name"
            )

    def get(self, name: str, signature: Any) -> Evaluation | None:
        """What was measured of a checkpoint whose files have not changed since."""
        file = self._file(name)
        if signature is None or not file.is_file():
            return None
        content = json.loads(file.read_text(encoding="utf-8"))
        return Evaluation.from_dict(content) if content["signature"] == json.loads(json.dumps(signature)) else None

    def put(self, name: str, signature: Any, part: Evaluation) -> None:
        """Keep what was measured."""
        with atomic_file(self._file(name)) as temporary:
            temporary.write_text(json.dumps({**part.to_dict(), "signature": signature}), encoding="utf-8")

    def remove(self) -> None:
        """All of it is in the final file."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.directory / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
