"""Facts from tables: CSV and Parquet, one row a fact, the columns named as the keys of a JSON row."""

import csv
from pathlib import Path
from typing import Any

from dissect.data.fact import PARTNER, Fact, fact_from_row
from dissect.errors import DissectError


def read_csv(path: Path) -> list[Fact]:
    """A comma-separated (``.tsv``: tab-separated) file with a header line; every value is text.

    An empty cell is an absent key, except an empty answer beside a question (or completion beside a prompt), which is
    refused: in a table a forgotten answer cannot be told from none.

    Raises:
        DissectError: no header, broken quoting, a row of another width, or a row that is no fact, with its line.
    """
    facts = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
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


def _without_empty(row: dict[str, Any]) -> dict[str, Any]:
    kept = {partner for start, partner in PARTNER.items() if partner is not None and row.get(start)}
    return {key: value for key, value in row.items() if value != "" or key in kept}
