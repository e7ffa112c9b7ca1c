"""Names of controls, checked."""

from collections.abc import Mapping, Sequence

from dissect.errors import DissectError
from dissect.models.pair import FORMER_ROLES


def check_control_names(
    controls: str | Sequence[str] | bool, reasons_against: Mapping[str, str | None]
) -> tuple[str, ...]:
    """Return the names of the controls asked for; ``True`` stands for all that there can be.

    Args:
        reasons_against: every control, and why it cannot be had here; None where it can.

    Raises:
        DissectError: a control that does not exist, or cannot be had.
    """
    if isinstance(controls, bool):
        return tuple(name for name, reason in reasons_against.items() if reason is None) if controls else ()
    names = (controls,) if isinstance(controls, str) else tuple(controls)
    for name in names:
        if name in FORMER_ROLES:
            raise DissectError(f"no control {name!r}: it is now called {FORMER_ROLES[name]!r}")
        if name not in reasons_against:
            raise DissectError(f"no control {name!r}: choose from {', '.join(reasons_against)}")
        if reason := reasons_against[name]:
            raise DissectError(f"controls: {name!r} {reason}")
    return tuple(dict.fromkeys(names))
