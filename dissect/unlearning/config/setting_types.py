"""Types of settings: each says which values it allows, in a check and in words.

A field of `TrainConfig` is annotated with one of them; checks and the command line are made from the annotation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from dissect.errors import DissectError, near_miss


@dataclass(frozen=True)
class Rule:
    """The values that a setting may have."""

    allowed: str
    """The values in words, after "must be"."""
    holds: Callable[[Any], bool]

    def check(self, name: str, value: object) -> None:
        """Refuse a value that the rule does not hold for.

        Raises:
            DissectError: the rule does not hold.
        """
        if not self.holds(value):
            raise DissectError(f"{name}={value!r}: must be {self.allowed}")


@dataclass(frozen=True)
class OneOf:
    """A few names that a setting may have."""

    names: tuple[str, ...]

    def check(self, name: str, value: object) -> None:
        """Refuse a value that is none of the names.

        Raises:
            DissectError: it is none of them.
        """
        if value not in self.names:
            close = near_miss(str(value), self.names)
            raise DissectError(f"{name}={value!r}{close}: choose from {', '.join(self.names)}")


@dataclass(frozen=True)
class Written:
    """A sequence that is one text on the command line, such as ``0,3,5-8``."""

    example: str


@dataclass(frozen=True)
class OrWord:
    """A word that may stand in the place of a number; its rule allows both."""

    word: str


@dataclass(frozen=True)
class SettingType:
    """The type of a setting, taken apart."""

    plain: type
    """``int``, ``float``, ``bool``, ``str`` or ``tuple``."""
    optional: bool
    """True if None is allowed."""
    rule: Rule | OneOf | None
    written: Written | None
    word: str | None
    """Word that a setting which is a number may be as well."""


def setting_type(annotation: Any) -> SettingType:
    """Take the annotation of a field apart."""
    members = get_args(annotation)
    optional = NoneType in members
    if optional:
        (annotation,) = (member for member in members if member is not NoneType)
    base, *notes = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    rule = next((note for note in notes if isinstance(note, (Rule, OneOf))), None)
    written = next((note for note in notes if isinstance(note, Written)), None)
    word = next((note.word for note in notes if isinstance(note, OrWord)), None)
    origin = get_origin(base) or base
    return SettingType(str if origin is Literal else origin, optional, rule, written, word)


def one_of(choices: Any) -> OneOf:
    """The rule that a ``Literal`` stands for."""
    return OneOf(get_args(choices))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _members(value: Sequence[object]) -> bool:
    return len(value) > 0 and all(isinstance(member, int) and member >= 0 for member in value)


Positive = Annotated[float, Rule("a positive number", lambda value: _number(value) and 0 < value < math.inf)]
PositiveOrInf = Annotated[float, Rule("a positive number (inf for none)", lambda value: _number(value) and value > 0)]
NotNegative = Annotated[float, Rule("0 or more", lambda value: _number(value) and 0 <= value < math.inf)]
Share = Annotated[float, Rule("between 0 and 1", lambda value: _number(value) and 0 <= value <= 1)]
Finite = Annotated[float, Rule("a finite number", lambda value: _number(value) and math.isfinite(value))]
Count = Annotated[int, Rule("a whole number of at least 1", _whole(1))]
CountOrZero = Annotated[int, Rule("a whole number of at least 0", _whole(0))]
PositiveOrAuto = Annotated[
    float,
    Rule("a positive number, or auto", lambda value: value == "auto" or (_number(value) and 0 < value < math.inf)),
    OrWord("auto"),
]
Switch = Annotated[bool, Rule("true or false", lambda value: isinstance(value, bool))]

_NUMBERED = Rule("one or more numbers from 0 on; leave it out for all", _members)
Layers = Annotated[tuple[int, ...], _NUMBERED, Written("0,3,5-8")]
Heads = Annotated[tuple[int, ...], _NUMBERED, Written("0,2")]
Neurons = Annotated[tuple[int, ...], _NUMBERED, Written("98,120-130")]
Blocks = Annotated[tuple[str, ...], Written("mlp.W_out,attn,...")]

_RetainLoss = Literal["nll", "kl", "states"]
_Schedule = Literal["constant", "linear", "cosine"]
_Focus = Literal["none", "soft", "hard"]
_Reference = Literal["stored", "live"]
_Keep = Literal["last", "best"]
RetainLoss = Annotated[_RetainLoss, one_of(_RetainLoss)]
Schedule = Annotated[_Schedule, one_of(_Schedule)]
Focus = Annotated[_Focus, one_of(_Focus)]
Reference = Annotated[_Reference, one_of(_Reference)]
Keep = Annotated[_Keep, one_of(_Keep)]
