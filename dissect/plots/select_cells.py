"""Choosing what of a result is drawn."""

from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from dissect.errors import DissectError


def selected(values: xr.DataArray, select: Mapping[str, Any]) -> xr.DataArray:
    """Keep some coordinates; every dimension stays, if of length 1.

    Raises:
        DissectError: no such dimension or coordinate.
    """
    for dim, wanted in select.items():
        if dim not in values.dims:
            raise DissectError(
                f"the result has no dimension {dim!r} to select in: it has {', '.join(map(str, values.dims))}"
            )
        kept = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
        there = values[dim].values.tolist()
        missing = [value for value in kept if value not in there]
        if missing or not kept:
            shown = ", ".join(map(str, there[:20])) + (", ..." if len(there) > 20 else "")
            raise DissectError(f"no {dim} {missing[0] if missing else kept!r} in the result: it has {shown}")
        values = values.sel({dim: kept})
    return values
