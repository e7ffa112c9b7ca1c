"""Stored numbers of single facts: what each model says, token by token, layer by layer, and beside other answers."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.stored_result import StoredRecord


@dataclass(frozen=True, kw_only=True)
class FactTable(StoredRecord):
    """One entry for each fact that can be picked; everything is a plain value, rounded once, when it is stored.

    An entry has ``set`` and ``number`` (from 0, its place in the set), ``question``, ``prompt`` (the whole text that
    the models read), ``expected``, ``group`` and ``subject``, and

    - ``said``: the greedy answer of each model, in the order of ``models``
    - ``tokens``, ``p`` [model][token]: the expected answer's tokens and the probability of each where it is predicted
    - ``lens``: for each model of ``lens_models`` its layers, and of these the first tokens of the answer as
      ``[p, p of the most likely token, number of that token in vocabulary]``, both p in thousandths
    - ``choice``: ``answers``, the own one first, and ``scores`` [model][answer], log p in nats; None where the fact is
      compared with nothing
    """

    FORMAT = "dissect-facts-1"
    WRITER = "`dissect report`"

    models: list[str]
    lens_models: list[str]
    vocabulary: list[str]
    """Tokens that the lens reads somewhere."""
    facts: list[dict[str, Any]]
    n_facts: dict[str, int]
    """Facts of each set, also those that were thinned out."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write compact JSON: there is a number for every fact, layer and token.

        Raises:
            DissectError: another suffix than ``.json``.
        """
        file = Path(path)
        if file.suffix.lower() != ".json":
            raise DissectError(f"the file must end in .json, got {file.name!r}: the result is written as JSON")
        content = {"format": self.FORMAT, **self.to_dict()}
        with atomic_file(file) as temporary:
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            temporary.write_text(text, encoding="utf-8")
        return file

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "FactTable":
        """Build the table from the content of a file."""
        return cls(**{name: content[name] for name in ("models", "lens_models", "vocabulary", "facts", "n_facts")})
