"""``--at layer=3,t=0.5``: what of a result is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dissect.errors import DissectError

if TYPE_CHECKING:
    import xarray as xr


def selection(texts: Sequence[str], data: "xr.Dataset") -> dict[str, Any]:
    """Return coordinates by dimension; several are separated by commas, a group's members joined by ``+``.

    ``layer=3,4,t=0.5`` is two layers at one t. Numbers are looked up as the result has them; what it does not have
    stays as it is, to be refused where it is selected.

    Raises:
        DissectError: no ``dimension=value``, or no such dimension.
    """
    selected: dict[str, Any] = {}
    for text in texts:
        dim = ""
        for item in text.split(","):
            name, equals, value = (part.strip() for part in item.rpartition("="))
            dim = name if equals else dim
            if not dim or not value:
                raise DissectError(f"--at {text!r}: give dimension=value, such as layer=3 or layer=3,4,t=0.5")
            if dim not in data.dims:
                there = ", ".join(str(known) for known in data.dims)
                raise DissectError(f"--at {text!r}: the result has no dimension {dim!r}, it has {there}")
            selected.setdefault(dim, []).append(_coordinate(value, data[dim].values.tolist()))
    return selected


def _coordinate(text: str, there: Sequence[Any]) -> Any:
    """The coordinate that is written so."""
    for coordinate in there:
        if str(coordinate) in (text, text.replace("+", ",")) or (
            not isinstance(coordinate, str) and _number(text) == coordinate
        ):
            return coordinate
    return text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
