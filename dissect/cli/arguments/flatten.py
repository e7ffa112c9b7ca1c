"""Options that several commands share, written once."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter, Signature
from typing import Any

from dissect.apart import check_apart

OUTPUTS = ("out", "table", "figure", "drift", "folder", "tensorboard", "page")
"""Parameters of commands that name what is written."""
INPUTS = (
    *("model", "models", "base", "unlearned", "retrained", "teacher", "adapter_base"),
    *("facts", "forget", "retain", "unrelated", "texts", "nonmembers", "monitor"),
    *("config", "stored", "sweeps", "data", "verdict"),
)
"""Parameters of commands that name what is read. Others are words, even where a file happens to be called like one:
``--method npo`` beside ``--out npo``."""


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer, which reads signatures, from one that takes groups of options as dataclasses.

    Where a parameter's type is a dataclass, the fields of it stand in its place; the command gets them back as that
    dataclass. Everything else of the command stays as it is. An output that would replace an input is refused before
    the command begins.
    """
    groups: dict[str, type] = {}
    parameters: list[Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = parameter.annotation
        if is_dataclass(kind) and isinstance(kind, type):
            groups[parameter.name] = kind
            parameters += [_parameter(field) for field in fields(kind)]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    def flat(**values: Any) -> None:
        written = {f"--{name}": values[name] for name in OUTPUTS if values.get(name) is not None}
        check_apart(written, {name: values[name] for name in INPUTS if name in values})
        filled = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **filled)

    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flat.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return flat


def _parameter(field: Field) -> Parameter:
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
