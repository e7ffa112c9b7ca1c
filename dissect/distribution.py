"""The installed package: its name on the index, its version, and the other project that shares its import name."""

from importlib.metadata import PackageNotFoundError, version

NAME = "dissect-unlearning"
"""Name of the distribution. ``dissect`` on the index is a forensics framework, whose modules are ``dissect.*`` too."""

OTHERS = ("dissect.target", "dissect.util", "dissect.cstruct")
"""Distributions of that framework; one of them is there wherever any part of it is installed."""


def own_version() -> str:
    """Version of this package; ``not installed`` for a source tree that was put on the path as it is."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "not installed"


def shadowing() -> str | None:
    """One line if the forensics framework is installed in this environment, else None."""
    for name in OTHERS:
        try:
            release = version(name)
        except PackageNotFoundError:
            continue
        return (
            f"the forensics framework ({name} {release}) is installed in this environment, and its modules are called "
            f"dissect.* as well: one hides the other. Install {NAME} in an environment of its own"
        )
    return None
