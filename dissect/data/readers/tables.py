"""Facts from tables: CSV and Parquet, one row a fact, the columns named as the keys of a JSON row."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dissect.data.fact import Fact, fact_from_row
from dissect.data.published_names import ANSWER_NAMES, QUESTION_NAMES, stripped_names
from dissect.errors import DissectError


def read_csv(path: Path) -> list[Fact]:
    """A comma-separated (``.tsv``: tab-separated) file with a header line; every value is text, of any length.

    An empty cell is an absent key, except an empty answer beside a question (or completion beside a prompt), which is
    refused: in a table a forgotten answer cannot be told from none.

    Raises:
        DissectError: no header, broken quoting, a row of another width, or a row that is no fact, with its line.
    """
    facts = []
    with _any_length(), path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        # Where a space stands before a quote in the header, the spaces belong to the separators; else to the cells.
        spaced = re.search(rf'{delimiter} +"', file.readline()) is not None
        file.seek(0)
        reader = csv.DictReader(file, strict=True, delimiter=delimiter, skipinitialspace=spaced)
        try:
            _check_header(reader.fieldnames or [], path)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                width = len(reader.fieldnames or [])
                if None in row or None in row.values():
                    seen = width + len(row.get(None, ())) - sum(value is None for value in row.values())
                    raise DissectError(f"{where}: {seen} cells where the header has {width}: quote cells with commas")
                facts.append(fact_from_row(_without_empty(row), where))
        except csv.Error as error:
            raise DissectError(
                f"{path}, line {reader.reader.line_num}: not valid CSV ({error}): mend the quoting"
            ) from error
    return facts


def read_parquet(path: Path) -> list[Fact]:
    """A Parquet table; nulls are absent keys, lists and structs ride along as Python lists and dicts.

    Raises:
        DissectError: not a Parquet file, or a row that is no fact, with its number (the first row is 1).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DissectError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): write it again"
        ) from error
    return [fact_from_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def _check_header(names: Sequence[str], path: Path) -> None:
    """Refuse a name that stands in the header twice: the last column would be taken, and the others lost."""
    bare = [name.strip() for name in names]
    if twice := [name for name in dict.fromkeys(bare) if name and bare.count(name) > 1]:
        raise DissectError(f"{path}, line 1: two columns are called {twice[0]!r}: rename or drop one")


_LONGEST = 2**31 - 1
"""Characters of a cell; what a C long holds on every platform."""


@contextmanager
def _any_length() -> Iterator[None]:
    """In the body cells may be longer than the 131,072 characters that the csv module allows."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _without_empty(row: dict[str, Any]) -> dict[str, Any]:
    """The row without its empty cells, but for an answer that is missing beside its question."""
    row = stripped_names(row)
    kept: set[str] = set()
    for starts, ends in ((("question", *QUESTION_NAMES), "answer"), (("prompt",), "completion")):
        partners = [name for name in (ends, *ANSWER_NAMES) if name in row]
        if any(row.get(name) for name in starts) and not any(row[name] for name in partners):
            kept.update(partners[:1])
    return {key: value for key, value in row.items() if value != "" or key in kept}
