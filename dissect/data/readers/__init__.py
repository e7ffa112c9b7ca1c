"""One reader a file format; each yields facts and says in its errors where in the file the trouble is."""

import os
from pathlib import Path

from dissect.data.fact import Fact
from dissect.data.readers.json_rows import read_json, read_jsonl
from dissect.data.readers.saved_dataset import read_saved_dataset
from dissect.data.readers.tables import read_csv, read_parquet
from dissect.errors import DissectError

READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}


def read_facts(path: str | os.PathLike[str], *, split: str | None = None) -> list[Fact]:
    """Read a fact file by its suffix, or a directory written by ``datasets``' ``save_to_disk``.

    Raises:
        DissectError: no such file, an unknown suffix, a file without facts, or a row that is no fact.
    """
    path = Path(path)
    if not path.exists():
        raise DissectError(f"no such fact file: {path}: check the path")
    if path.is_dir():
        facts = read_saved_dataset(path, split=split)
    else:
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DissectError(f"{path}: unknown fact file type {path.suffix!r}: use one of {', '.join(READERS)}")
        if split is not None:
            raise DissectError(f"{path} is a file and has no split {split!r}: leave split out")
        try:
            facts = reader(path)
        except UnicodeDecodeError as error:
            raise DissectError(
                f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): re-encode it"
            ) from error
    if not facts:
        raise DissectError(f"{path} holds no facts (0 rows): give at least one")
    return facts
