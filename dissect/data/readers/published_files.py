"""Where a published data set has its files: by split in one directory, or a directory for each configuration."""

import os
from pathlib import Path

SUFFIXES = (".json", ".jsonl", ".parquet", ".csv")


def published_file(data: str | os.PathLike[str], *names: str) -> Path | None:
    """The first file that goes by one of the names; None if there is none.

    ``verbmem/forget`` is `verbmem/forget.json` (`.jsonl`, `.parquet`, `.csv`), `verbmem_forget.json`, or the first
    shard `verbmem/forget-00000-of-00001.parquet` as the hub has it; ``forget10`` also `forget10/train-*.parquet`.
    """
    found = published_files(data, *names)
    return found[0] if found else None


def published_files(data: str | os.PathLike[str], *names: str) -> list[Path]:
    """All files of the first of the names that there is: shards of a split, or what a name with * matches."""
    root = Path(data)
    for name in names:
        for stem in dict.fromkeys((name, name.replace("/", "_"), f"data/{name}")):
            for suffix in SUFFIXES:
                if files := [path for path in sorted(root.glob(f"{stem}{suffix}")) if path.is_file()]:
                    return files
        for pattern in (f"{name}-*-of-*.parquet", f"{name}/*-of-*.parquet", f"data/{name}-*-of-*.parquet"):
            if shards := sorted(root.glob(pattern)):
                return shards
    return []
