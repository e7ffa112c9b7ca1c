"""Facts from Hugging Face ``datasets``: an object in memory, or a directory that ``save_to_disk`` wrote."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dissect.data.fact import Fact, fact_from_row
from dissect.errors import DissectError


def read_saved_dataset(path: Path, *, split: str | None = None) -> list[Fact]:
    """Read a directory of ``save_to_disk``; ``split`` is needed where it holds several.

    Raises:
        DissectError: not such a directory, several splits and none chosen, no such split, or a row that is no fact.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except FileNotFoundError as error:
        raise DissectError(
            f"{path} is a directory but no saved dataset: give a fact file or a save_to_disk directory"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = _choose(loaded, split, path)
    elif split is not None:
        raise DissectError(f"{path} holds one dataset and no split {split!r}: leave split out")
    return dataset_facts(loaded, where=str(path))


def dataset_facts(dataset: Iterable[Any], *, where: str = "dataset") -> list[Fact]:
    """Facts of the rows of a dataset; errors name the row (the first is 1).

    Raises:
        DissectError: a dictionary of splits instead of one dataset, or a row that is no fact.
    """
    if isinstance(dataset, dict):
        raise DissectError(f"{where} holds the splits {', '.join(dataset)}: pass one of them")
    return [fact_from_row(row, f"{where}, row {number}") for number, row in enumerate(dataset, start=1)]


def _choose(splits: dict[str, Any], split: str | None, path: Path) -> Any:
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split not in splits:
        raise DissectError(f"{path}: no split {split!r}: choose one of {', '.join(splits)}")
    return splits[split]
