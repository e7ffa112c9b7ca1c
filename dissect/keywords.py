"""Public functions that answer a misspelt keyword, or one that has been renamed, with the right spelling."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

from dissect.errors import DissectError, near_miss

_Public = TypeVar("_Public", bound=Callable[..., Any])
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def keywords(*, renamed: Mapping[str, str] | None = None) -> Callable[[_Public], _Public]:
    """Decorate a public function or class so that a wrong keyword is a ``DissectError`` that names the right one.

    The signature, the docstring and the static type stay as they are; a correct call costs one comparison of sets.
    A function with ``**settings`` of its own checks those itself: only renamed keywords, and misspelt ones that it
    requires, are caught here.

    Args:
        renamed: old keyword to the new one.

    >>> @keywords(renamed={"width": "window"})
    ... def patch(*, window=5):
    ...     return window
    >>> patch(windw=3)
    Traceback (most recent call last):
        ...
    dissect.errors.DissectError: patch has no argument 'windw': did you mean 'window'?
    >>> patch(width=3)
    Traceback (most recent call last):
        ...
    dissect.errors.DissectError: patch has no argument 'width': it is now called 'window'
    """
    former = dict(renamed or {})

    def decorate(public: _Public) -> _Public:
        if isinstance(public, type):
            constructor: Any = public
            constructor.__init__ = _checked(constructor.__init__, public.__name__, former)
            return public
        return _checked(public, public.__qualname__, former)

    return decorate


def _checked(function: _Public, name: str, renamed: Mapping[str, str]) -> _Public:
    """``function`` behind a look at its keywords; ``name`` is the one that its errors show."""
    parameters = list(inspect.signature(function).parameters.values())
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = [parameter for parameter in parameters if parameter.kind in _BY_NAME]
    accepted = {parameter.name: None for parameter in named if parameter.name not in ("self", "cls")}
    required = [parameter.name for parameter in named if parameter.default is parameter.empty]

    @wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        unknown = options.keys() - accepted.keys()
        if unknown and takes_any:
            missing = set(required[len(arguments) :]) - options.keys()
            unknown = {option for option in unknown if option in renamed or near_miss(option, missing)}
        if unknown:
            raise DissectError(_message(name, min(unknown), accepted, renamed))
        return function(*arguments, **options)

    return checked  # type: ignore[return-value]


def _message(name: str, unknown: str, accepted: Iterable[str], renamed: Mapping[str, str]) -> str:
    seen = f"{name} has no argument {unknown!r}: "
    if unknown in renamed:
        return seen + f"it is now called {renamed[unknown]!r}"
    close = near_miss(unknown, accepted).strip(" ()")
    return seen + (close or f"it takes {', '.join(accepted)}")
