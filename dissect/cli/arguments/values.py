"""Texts of options, read as values."""

from collections.abc import Iterable
from typing import Any

from dissect.errors import DissectError


def listed(text: str, option: str) -> list[str]:
    """``a,b`` as a list.

    Raises:
        DissectError: nothing in it.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise DissectError(f"{option} {text!r} names nothing somewhere: separate names by single commas")
    return items


def numbered(text: str, option: str) -> list[int] | None:
    """``0,3,5-8`` as numbers, both ends of a range included; None for nothing.

    Raises:
        DissectError: anything else.
    """
    if not text:
        return None
    numbers: list[int] = []
    for item in text.split(","):
        first, dash, last = (part.strip() for part in item.partition("-"))
        if not (first.isdecimal() and (last.isdecimal() if dash else True) and int(first) <= int(last or first)):
            raise DissectError(f"{option} {text!r}: give numbers and rising ranges such as 0,3,5-8")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def whole_numbers(text: str, option: str) -> list[int]:
    """``-2,-1,0`` as numbers.

    Raises:
        DissectError: anything else.
    """
    items = listed(text, option)
    if not all(item.removeprefix("-").isdecimal() for item in items):
        raise DissectError(f"{option} {text!r}: give whole numbers such as -1,0,1")
    return [int(item) for item in items]


def decimals(text: str, option: str) -> list[float]:
    """``0,0.5,1`` as numbers.

    Raises:
        DissectError: anything else.
    """
    try:
        return [float(item) for item in listed(text, option)]
    except ValueError:
        raise DissectError(f"{option} {text!r}: give numbers such as 0,0.25,1") from None


def parts(text: str, option: str) -> str | list[int | list[int]] | None:
    """``each``, or numbers and groups of them; None for nothing.

    Raises:
        DissectError: anything else.
    """
    return (text or None) if text in ("", "each") else grouped(text, option)


def grouped(text: str, option: str) -> list[int | list[int]]:
    """``3,5+7`` as numbers and groups of them.

    Raises:
        DissectError: anything else.
    """
    groups = [[part.strip() for part in item.split("+")] for item in listed(text, option)]
    if not all(part.isdecimal() for group in groups for part in group):
        raise DissectError(f"{option} {text!r}: give numbers, and groups joined by +, such as 3,5+7")
    return [int(group[0]) if len(group) == 1 else [int(part) for part in group] for group in groups]


def unescaped(text: str) -> str:
    r"""``\n`` and ``\t`` as a shell passes them on, as what they mean."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def measured(texts: Iterable[str] | None, option: str = "--option") -> dict[str, Any]:
    """``uds.tau=0.1`` and others as names and values: numbers, true or false where they read as one.

    Raises:
        DissectError: anything else.
    """
    import yaml

    from dissect.unlearning.config.settings_file import number

    named = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise DissectError(f"{option} {text!r}: write it as measure.option=value, such as uds.tau=0.1")
        try:
            named[name.strip()] = number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise DissectError(f"{option} {text!r}: {value!r} is no value: give a number, a word or a list") from None
    return named


def number_or(text: str, option: str, word: str) -> float | str:
    """A number, or the one word that may stand in its place.

    Raises:
        DissectError: anything else.
    """
    if text == word:
        return text
    try:
        return float(text)
    except ValueError:
        raise DissectError(f"{option} {text!r}: must be a number, or {word}") from None
