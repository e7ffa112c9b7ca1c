"""Options of single measures: name, default, and accepted values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dissect.errors import DissectError

T = TypeVar("T")


@dataclass(frozen=True)
class Option(Generic[T]):
    """An option of one or several measures, which list it under ``options`` and read it by ``examined.option(...)``."""

    name: str
    """``<measure>.<option>``, or the common beginning of several measures' names: ``uds.tau``."""
    default: T
    about: str
    """One line of help."""
    expected: str
    """Accepted values, in words that complete "must be ..."."""
    accepts: Callable[[Any], bool]
    """Predicate: true for a value that can be used."""

    @property
    def owner(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    def of(self, given: Mapping[str, Any]) -> T:
        """Return the value among the options that were given, else the default.

        Raises:
            DissectError: a value that the option does not accept.
        """
        if self.name not in given:
            return self.default
        self.check(given[self.name])
        return given[self.name]

    def check(self, value: object) -> None:
        """Refuse a value that cannot be used.

        Raises:
            DissectError: the option does not accept it.
        """
        if not self.accepts(value):
            raise DissectError(f"{self.name} must be {self.expected}, got {value!r:.80}")


def choice(name: str, choices: tuple[str, ...], about: str) -> Option[str]:
    """Return an option with named choices, the first of which is the default."""
    return Option(name, choices[0], about, f"one of {', '.join(choices)}", lambda value: value in choices)


def whole_number(name: str, default: int, about: str, *, least: int = 1) -> Option[int]:
    """Return an option that is a whole number of at least ``least``."""
    return Option(
        name,
        default,
        about,
        f"a whole number of at least {least}",
        lambda value: _is_number(value, int) and value >= least,
    )


def number(name: str, default: float, about: str, expected: str, accepts: Callable[[float], bool]) -> Option[float]:
    """Return an option that is a number in some range."""
    return Option(name, default, about, expected, lambda value: _is_number(value, (int, float)) and accepts(value))


def switch(name: str, default: bool, about: str) -> Option[bool]:
    """Return an option that is on or off."""
    return Option(name, default, about, "true or false", lambda value: isinstance(value, bool))


def _is_number(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
