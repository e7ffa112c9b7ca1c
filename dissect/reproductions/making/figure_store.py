"""Results kept for a figure, so that an interrupted command continues and a repeated one only draws."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissect.files import atomic_file


class FigureStore:
    """A directory with one file a result. Its name ends in a hash over all that the result depends on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, label: str, key: Mapping[str, Any], suffix: str = ".json") -> Path:
        """Return the file of the result of ``key``; ``label`` is for people."""
        text = json.dumps(key, sort_keys=True, default=str)
        name = re.sub(r"[^\w.=+-]+", "_", label)[:80]
        return self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}{suffix}"

    def get(self, label: str, key: Mapping[str, Any]) -> Any:
        """Return the kept result, or None."""
        file = self.path(label, key)
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def put(self, label: str, key: Mapping[str, Any], value: Any) -> None:
        """Keep a result; NaN and infinite numbers come back as they are."""
        with atomic_file(self.path(label, key)) as temporary:
            temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
