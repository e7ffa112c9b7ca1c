"""Facts from JSON that holds columns instead of rows."""

from collections.abc import Mapping
from typing import Any

from dissect.data.published_names import ANSWER_NAMES, QUESTION_NAMES
from dissect.errors import DissectError

_NAMES = ("question", "answer", "prompt", "completion", "text", *QUESTION_NAMES, *ANSWER_NAMES)


def rows_of(content: Any, where: str) -> list[Any]:
    """The rows of one JSON value that is no array.

    An object of columns, as `datasets` (lists) or pandas (objects by index) write it, becomes its rows; an object whose
    only list is one of objects (`{"version": 1, "data": [...]}`) becomes those; pandas' names beside the rows
    (`{"columns": [...], "data": [[...]]}`) are put together; any other value is the one row.

    Raises:
        DissectError: columns of different lengths.
    """
    if not isinstance(content, Mapping):
        return [content]
    core = [key for key in content if isinstance(key, str) and key.strip().lower() in _NAMES]
    if core and all(isinstance(content[key], (list, Mapping)) for key in core):
        return _rows(content, core, where)
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        return _split(content["columns"], content["data"], where)
    lists = [value for value in content.values() if isinstance(value, list)]
    if not core and len(lists) == 1 and lists[0] and all(isinstance(row, Mapping) for row in lists[0]):
        return lists[0]
    return [content]


def _split(names: list[Any], rows: list[Any], where: str) -> list[dict[str, Any]]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(names):
            raise DissectError(
                f"{where}, item {number}: must be a list of {len(names)} values, one a column: {row!r:.60}"
            )
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def _rows(content: Mapping[str, Any], core: list[str], where: str) -> list[dict[str, Any]]:
    first = content[core[0]]
    index = list(first) if isinstance(first, Mapping) else list(range(len(first)))
    columns: dict[str, list[Any]] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and isinstance(first, Mapping):
            columns[key] = [value.get(at) for at in index]
        elif isinstance(value, list) and not isinstance(first, Mapping):
            if len(value) != len(index):
                raise DissectError(
                    f"{where}: column {key!r} has {len(value)} entries, {core[0]!r} has {len(index)}: mend the file"
                )
            columns[key] = value
        elif key in core:
            raise DissectError(f"{where}: columns {core[0]!r} and {key!r} are written in different ways: mend the file")
    return [{key: column[i] for key, column in columns.items()} for i in range(len(index))]
