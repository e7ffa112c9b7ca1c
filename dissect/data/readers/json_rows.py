"""Facts from JSON: one object a line, or one array of objects."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dissect.data.fact import Fact, fact_from_row
from dissect.data.readers.columns import rows_of
from dissect.data.readers.conceptvectors import concept_facts, looks_like_concepts
from dissect.errors import DissectError


def read_jsonl(path: Path) -> list[Fact]:
    """One JSON object a line; blank lines are skipped. A file of one value alone may be columns or an array too.

    Raises:
        DissectError: a line that is not JSON or no fact, with its line number.
    """
    rows = json_lines(path)
    if len(rows) == 1:
        (_, content) = rows[0]
        whole = content if isinstance(content, list) else rows_of(content, str(path))
        if whole != [content]:
            rows = [(f"{path}, item {number}", row) for number, row in enumerate(whole, start=1)]
    return rows_to_facts(rows)


def read_json(path: Path) -> list[Fact]:
    """An array of objects, one object, columns, or JSON lines under the suffix ``.json``.

    ConceptVectors files are recognised, columns too: an object of equally long lists, or pandas' objects by index.

    A ConceptVectors file gives the questions of all its concepts; `Facts.from_conceptvectors` chooses among them.

    Raises:
        DissectError: what is not JSON, with its line, or a row that is no fact, with its place in the array.
    """
    content = json_content(path)
    if looks_like_concepts(content):
        return concept_facts(content, where=str(path))
    return rows_to_facts((f"{path}, item {i}", row) for i, row in enumerate(content, start=1))


def json_content(path: Path) -> list[Any]:
    """Everything in a JSON file as a list of rows: the array itself, a lone object, or the objects of JSON lines."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a second value follows the first: JSON lines under another suffix
            return [row for _, row in json_lines(path)]
        where = f"{path}, line {error.lineno}"
        raise DissectError(f"{where}: not valid JSON ({error.msg} at column {error.colno}): mend the file") from error
    except RecursionError:
        raise DissectError(f"{path}: not valid facts: its brackets are nested too deeply: mend the file") from None
    return content if isinstance(content, list) else rows_of(content, str(path))


def json_lines(path: Path) -> list[tuple[str, Any]]:
    """The objects of a JSON-lines file, each with where it stands."""
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                rows.append((where, json.loads(line)))
            except json.JSONDecodeError as error:
                seen = f"{error.msg} at column {error.colno}, got {line.strip()!r:.60}"
                raise DissectError(f"{where}: not valid JSON ({seen}): mend the line") from error
            except RecursionError:
                raise DissectError(f"{where}: its brackets are nested too deeply: mend the line") from None
    return rows


def rows_to_facts(rows: Iterable[tuple[str, Any]]) -> list[Fact]:
    """Facts of rows that come with where they stand."""
    return [fact_from_row(row, where) for where, row in rows]
