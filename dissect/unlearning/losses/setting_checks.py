"""Checks of the settings of objectives."""

import math
from collections.abc import Sequence

from dissect.errors import DissectError, near_miss


def positive(**settings: float) -> None:
    """Refuse the first of these settings that is not a finite number above 0.

    Raises:
        DissectError: there is one.
    """
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise DissectError(f"{name}={value!r}: must be a positive number")


def not_negative(**settings: float) -> None:
    """Refuse the first of these settings that is not a finite number of at least 0.

    Raises:
        DissectError: there is one.
    """
    for name, value in settings.items():
        if not 0 <= value < math.inf:
            raise DissectError(f"{name}={value!r}: must be 0 or more, and finite")


def finite(**settings: float) -> None:
    """Refuse the first of these settings that is infinite or not a number.

    Raises:
        DissectError: there is one.
    """
    for name, value in settings.items():
        if not math.isfinite(value):
            raise DissectError(f"{name}={value!r}: must be a finite number")


def count(least: int, **settings: int) -> None:
    """Refuse the first of these settings that is below ``least``.

    Raises:
        DissectError: there is one.
    """
    for name, value in settings.items():
        if value < least:
            raise DissectError(f"{name}={value!r}: must be a whole number of at least {least}")


def one_of(allowed: Sequence[str], **settings: str) -> None:
    """Refuse the first of these settings that is none of ``allowed``.

    Raises:
        DissectError: there is one.
    """
    for name, value in settings.items():
        if value not in allowed:
            raise DissectError(f"{name}={value!r}{near_miss(value, allowed)}: choose from {', '.join(allowed)}")
