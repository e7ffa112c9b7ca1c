"""The suites there are, by name."""

from importlib import import_module
from typing import get_args

from dissect.errors import DissectError, near_miss
from dissect.evaluation.suites.suite import Suite, SuiteName


def suite(name: str) -> Suite:
    """Return a suite: ``suite("tofu").inputs(DIR)`` is what ``dissect.evaluate`` takes, ``said(DIR)`` what DIR lacks.

    Raises:
        DissectError: there is none of the name.

    Example:
        >>> from dissect.evaluation.suites.catalogue_of_suites import suite
        >>> suite("tofu").inputs("data/tofu")  # doctest: +SKIP
    """
    names = get_args(SuiteName)
    if name not in names:
        raise DissectError(f"no suite {name!r}{near_miss(name, names)}: choose from {', '.join(names)}")
    found: Suite = import_module(f"dissect.evaluation.suites.suite_{name}").SUITE
    return found
