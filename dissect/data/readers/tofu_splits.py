"""TOFU's splits by name: from a directory with the published files, or from the hub."""

import os
import re
from pathlib import Path
from typing import Any

from dissect.data.readers.published_files import published_file
from dissect.errors import DissectError

REPOSITORY = "locuslab/TOFU"
_SPLIT = re.compile(
    r"(full|forget(01|05|10)|retain(90|95|99)?|holdout(01|05|10)|real_authors|world_facts)(_perturbed)?"
)


def is_split(source: Any) -> bool:
    """Whether this is the name of a split, and no file or directory of that name is there."""
    return isinstance(source, str) and _SPLIT.fullmatch(source) is not None and not Path(source).exists()


def split_file(name: str, data: str | os.PathLike[str] | None = None) -> Path:
    """The file of a split.

    Raises:
        DissectError: ``data`` has none, or without ``data`` the hub (offline: its cache) has none.
    """
    if data is not None:
        found = published_file(data, name)
        if found is None:
            raise DissectError(f"{data} has no file of TOFU's split {name}: expected {name}.json or {name}/*.parquet")
        return found
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(REPOSITORY, f"{name}.json", repo_type="dataset"))
    except EntryNotFoundError as error:
        raise DissectError(
            f"expected TOFU's split {name!r} at {REPOSITORY}, got none there or in the cache: give the file, or data="
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DissectError(f"TOFU's split {name!r} cannot be had from the hub ({reason}): give the file") from error
