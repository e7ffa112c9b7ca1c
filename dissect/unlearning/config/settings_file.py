"""Settings as YAML files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.unlearning.config.presets import preset


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a mapping of settings; ``preset: name`` in it stands for those of a preset, which the others override.

    Raises:
        DissectError: no such file, no mapping, or no such preset.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DissectError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DissectError(f"{path} must hold settings such as 'lr: 1.0e-5', got {type(content).__name__}")
    name = content.pop("preset", None)
    try:
        published = {} if name is None else preset(str(name))
    except DissectError as error:
        raise DissectError(f"{path}: {error}") from error
    return {key: number(value) for key, value in {**published, **content}.items()}


def write_settings(settings: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write settings as YAML, which `read_settings` takes back unchanged."""
    with atomic_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    return Path(path)


def number(value: Any) -> Any:
    """Turn text that is a number into one: YAML 1.1 takes 1e-5, without a point, for text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
