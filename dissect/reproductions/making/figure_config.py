"""Reading the inputs of a figure from a YAML file that names checkpoints by pattern."""

import itertools
import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from dissect.data.chat.chat_settings import as_chat
from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.errors import DissectError, near_miss
from dissect.reproductions.making.figure_inputs import Checkpoint, Config, FactFile, FigureModel, fields, located

PLACEHOLDERS = {"method": "methods", "id": "ids", "epoch": "epochs"}
"""Placeholders in the name of a checkpoint, and the key that lists the values of each."""
SETS = ("forget", "retain", "retain_seen", "unrelated", "texts", "sequences")
"""Forget facts; retain facts that no retain loss saw; those that retain losses see; unrelated facts; plain texts, for
perplexity; the forget facts as whole texts, for extraction likelihood."""
_MODEL_KEYS = ("base", "retrained", "unlearned", *PLACEHOLDERS.values(), "facts")
_RENAMED = {"retain_model": "retrained"}
"""Former key to the one that took its place."""
_KEYS = ("models", "template", "chat", "dtype", "batch_size", "settings")
_FILE_KEYS = ("file", "concept", "part", "split")


def available() -> list[str]:
    """Names of the configs that come with dissect."""
    return sorted(file.name.removesuffix(".yaml") for file in _shipped().iterdir() if file.name.endswith(".yaml"))


def read_config(source: str | os.PathLike[str] | Mapping[str, Any], figures: Iterable[str] = ()) -> Config:
    """A config that comes with dissect, or of a YAML file, or given as a mapping.

    Args:
        figures: names that settings may be given for; none of them is checked where there are none.

    Raises:
        DissectError: no such file, keys or placeholders that do not exist or are missing, values of another kind.
    """
    if isinstance(source, Mapping):
        return _config(source, None, list(figures))
    path: Any = Path(source)
    if not path.is_file():
        if str(source) not in available():
            raise DissectError(
                f"no config {str(source)!r}{near_miss(str(source), available())}: give a YAML file, or one of "
                f"{', '.join(available())}"
            )
        path = _shipped() / f"{source}.yaml"
    try:
        return _config(yaml.safe_load(path.read_text(encoding="utf-8")), Path(str(path)).parent, list(figures))
    except (UnicodeDecodeError, yaml.YAMLError, DissectError) as error:
        raise DissectError(f"{path.name}: {' '.join(str(error).split())}") from error


def _config(content: Any, beside: Path | None, figures: list[str]) -> Config:
    _mapping(content, "a config", "models")
    _known(content, _KEYS, "config")
    models = content.get("models")
    if not isinstance(models, Mapping) or not models:
        raise DissectError(
            f"models: give at least one by name, such as 'models: {{llama: {{base: ...}}}}', got {models!r}"
        )
    read_models = tuple(_model(str(name), about, beside) for name, about in models.items())
    template = content.get("template", DEFAULT_TEMPLATE)
    check_template(template)
    chat = as_chat(content.get("chat"))
    batch_size = content.get("batch_size", 32)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise DissectError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    dtype = content.get("dtype")
    if dtype is not None and not isinstance(dtype, str):
        raise DissectError(f"dtype must be a name such as bfloat16, got {dtype!r}")
    settings = content.get("settings") or {}
    _mapping(settings, "settings", "D-F2: {window: 5}")
    for name, options in settings.items():
        if figures and name not in figures:
            raise DissectError(f"settings: no figure {name!r}{near_miss(str(name), figures)}: {', '.join(figures)}")
        _mapping(options, f"settings of {name}", "window: 5")
    return Config(
        models=read_models,
        template=template,
        chat=chat,
        dtype=dtype,
        batch_size=batch_size,
        settings=settings,
        content=dict(content),
    )


def _model(name: str, about: Any, beside: Path | None) -> FigureModel:
    where = f"model {name!r}"
    _mapping(about, where, "base: runs/base")
    _known(about, _MODEL_KEYS, where)
    base = about.get("base")
    if not isinstance(base, str):
        raise DissectError(f"{where}: base must be the checkpoint before unlearning, got {base!r}")
    retrained = about.get("retrained")
    if not isinstance(retrained, (str, type(None))):
        raise DissectError(f"{where}: retrained must be a checkpoint, got {retrained!r}")
    facts = about.get("facts", {})
    _mapping(facts, f"facts of {where}", "forget: forget.jsonl")
    _known(facts, SETS, f"facts of {where}")
    return FigureModel(
        name=name,
        base=located(base, beside),
        retrained=None if retrained is None else located(retrained, beside),
        unlearned=_checkpoints(about, where, beside),
        facts={key: _fact_file(value, f"{where}, {key}", "ids" in about) for key, value in facts.items()},
        beside=beside,
    )


def _checkpoints(about: Mapping[str, Any], where: str, beside: Path | None) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of every combination of the listed values, put into the pattern."""
    pattern = about.get("unlearned")
    listed = {name: about[key] for name, key in PLACEHOLDERS.items() if key in about}
    if pattern is None:
        if listed:
            raise DissectError(f"{where}: {PLACEHOLDERS[next(iter(listed))]} without unlearned: give its pattern")
        return ()
    if not isinstance(pattern, str):
        raise DissectError(f"{where}: unlearned must be one name, e.g. 'runs/{{method}}', got {pattern!r}")
    _check_fields(pattern, tuple(PLACEHOLDERS), f"{where}: unlearned")
    named = fields(pattern)
    for name in named:
        if name not in listed:
            raise DissectError(f"{where}: unlearned has {{{name}}}, but there are no {PLACEHOLDERS[name]}: list them")
    for name, values in listed.items():
        if name not in named:
            raise DissectError(f"{where}: {PLACEHOLDERS[name]} are listed, but {{{name}}} is not in {pattern!r}")
        kinds = (int,) if name == "epoch" else (str, int)
        bad = not isinstance(values, list) or not values or any(not isinstance(v, kinds) for v in values)
        if bad or len(set(values)) < len(values):
            raise DissectError(f"{where}: {PLACEHOLDERS[name]} must be a list without repetitions, got {values!r}")
    checkpoints = []
    for values in itertools.product(*listed.values()):
        filled = dict(zip(listed, values, strict=True))
        source = located(pattern.format(**filled), beside)
        text = {name: str(value) for name, value in filled.items() if name != "epoch"}
        checkpoints.append(Checkpoint(source=source, epoch=filled.get("epoch"), **text))
    return tuple(checkpoints)


def _fact_file(value: Any, where: str, has_ids: bool) -> FactFile:
    entry = {"file": value} if isinstance(value, str) else value
    _mapping(entry, where, "file: forget.jsonl")
    _known(entry, _FILE_KEYS, where)
    if not isinstance(entry.get("file"), str):
        raise DissectError(f"{where}: file must name a file of facts, got {entry!r}")
    text = {key: None if value is None else str(value) for key, value in entry.items()}
    for key in ("file", "concept"):
        _check_fields(text.get(key) or "", ("id",), f"{where}: {key}")
    file = FactFile(**text)  # type: ignore[arg-type]
    if file.of_one and not has_ids:
        raise DissectError(f"{where} has {{id}}, but the model lists no ids")
    return file


def _check_fields(pattern: str, known: tuple[str, ...], where: str) -> None:
    for name in fields(pattern):
        if name not in known:
            allowed = ", ".join(f"{{{each}}}" for each in known)
            raise DissectError(f"{where}: no placeholder {{{name}}}{near_miss(name, known)}: use {allowed}")


def _mapping(value: Any, what: str, example: str) -> None:
    if not isinstance(value, Mapping):
        raise DissectError(f"{what} must be a mapping, e.g. '{example}', got {value!r:.80}")


def _known(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key in _RENAMED:
            raise DissectError(f"{where}: {key!r} is now called {_RENAMED[key]!r}")
        if key not in known:
            raise DissectError(f"{where}: no key {key!r}{near_miss(str(key), known)}: choose from {', '.join(known)}")


def _shipped() -> Any:
    return files("dissect.reproductions") / "configs"
