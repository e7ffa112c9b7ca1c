"""From what the user names, a directory or a hub id, to a directory on this machine."""

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from dissect.errors import DissectError

_SMALL = ["*.json", "*.jinja", "*.model", "*.txt", "tokenizer*"]
_SAFETENSORS = ["model*.safetensors", "adapter_model.safetensors"]
_CONFIGS = ["config.json", "adapter_config.json"]
_BINARIES = ["pytorch_model*.bin", "adapter_model.bin"]
_NESTED = ["*/*"]
"""Sub-directories hold the same weights in other formats."""


def resolve(source: str | os.PathLike[str], *, revision: str | None = None, only: list[str] | None = None) -> Path:
    """The directory that ``source`` names: itself, or the download of a hub id, of which ``only`` may be enough.

    The offline mode of huggingface_hub (``HF_HUB_OFFLINE=1``) is respected: then only its cache is looked at.

    Raises:
        DissectError: neither a directory nor a model that the hub (or, offline, its cache) has.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if revision is not None:
            raise DissectError(f"revision={revision!r} is for hub ids, but {source} is a directory")
        return path
    if path.exists():
        raise DissectError(f"{source} is a file: give the directory of the checkpoint")
    name = os.fspath(source)
    if path.is_absolute() or name.startswith((".", "~")) or name.endswith(os.sep) or name.count("/") > 1:
        raise DissectError(f"no such directory: {source}")
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise DissectError(f"{source} is neither a directory nor a hub id (owner/name)") from None
    return _download(name, revision, only)


def fetch_config(source: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Contents of a checkpoint's ``config.json``; of a hub id nothing else is downloaded, of an adapter its base's.

    ``base`` is the base of an adapter, instead of the one that it records.

    Raises:
        DissectError: as ``resolve``, or there is none.
    """
    directory = resolve(source, only=_CONFIGS)
    if not (directory / "config.json").is_file() and (directory / "adapter_config.json").is_file():
        base = base or read_json(directory / "adapter_config.json").get("base_model_name_or_path")
        if not base:
            raise DissectError(f"{source} is an adapter that does not name its base: give the base instead")
        return fetch_config(base)
    return read_json(directory / "config.json")


def fetch_small_files(source: str | os.PathLike[str]) -> Path:
    """The directory of a checkpoint; of a hub id its configuration and tokenizer files alone are downloaded.

    Raises:
        DissectError: as ``resolve``.
    """
    return resolve(source, only=_SMALL)


def read_json(path: Path) -> dict[str, Any]:
    """Contents of a JSON file.

    Raises:
        DissectError: it is missing, unreadable, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DissectError(f"{path.parent} has no {path.name}: it is not a Hugging Face checkpoint") from None
    except (OSError, ValueError) as error:
        raise DissectError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise DissectError(f"{path} holds a {type(content).__name__}, an object is needed")
    return content


def _download(repo_id: str, revision: str | None, only: list[str] | None = None) -> Path:
    at = f"{repo_id} at revision {revision!r}" if revision else repo_id
    try:
        path = _snapshot(repo_id, revision, only or [*_SMALL, *_SAFETENSORS])
        if only is None and not any(path.glob("*.safetensors")):
            path = _snapshot(repo_id, revision, [*_SMALL, *_BINARIES])
    except RevisionNotFoundError:
        raise DissectError(f"the hub has {repo_id}, but not the revision {revision!r}") from None
    except GatedRepoError:
        raise DissectError(f"{repo_id} is gated: accept its terms on the hub and log in (hf auth login)") from None
    except RepositoryNotFoundError:
        raise DissectError(f"{repo_id}: no such directory, and no such model on the hub") from None
    except LocalEntryNotFoundError:
        raise DissectError(
            f"{at}: no such directory, not in the hub's cache, and the hub cannot be reached (offline?)"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # connection errors of whichever client is in use
        reason = (str(error).split("\n") or [""])[0]
        raise DissectError(f"{at}: no such directory, and downloading it failed: {reason}") from error
    return path


def _snapshot(repo_id: str, revision: str | None, patterns: list[str]) -> Path:
    return Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns, ignore_patterns=_NESTED))
