"""Results on disk, as netCDF."""

import os
from pathlib import Path
from typing import Literal

import xarray as xr

from dissect.errors import DissectError
from dissect.files import atomic_file

ENGINE: Literal["h5netcdf"] = "h5netcdf"
_OURS = "dissect-"
"""Beginning of every format that dissect writes."""


def save(data: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write ``data``; an existing file is replaced whole or not at all."""
    with atomic_file(path) as temporary:
        # Through memory: where the disk is full the HDF5 library would end the process instead of raising an error.
        temporary.write_bytes(data.to_netcdf(engine=ENGINE))


def load(path: str | os.PathLike[str], expected: str, writer: str) -> xr.Dataset:
    """Read a dataset whose attribute ``format`` is ``expected``; ``writer`` is named as what writes such files.

    Raises:
        DissectError: no such file, not netCDF, or something else.
    """
    file = Path(path)
    if not file.is_file():
        raise DissectError(f"no file {file}: give what {writer} wrote")
    try:
        data = xr.load_dataset(file, engine=ENGINE)
    except (OSError, ValueError) as error:
        raise DissectError(f"{file} cannot be read as netCDF ({error}): it is damaged or something else") from error
    if (seen := str(data.attrs.get("format"))) != expected:
        if seen.rpartition("-")[0] == expected.rpartition("-")[0]:
            raise DissectError(f"{file} was written by another version of dissect ({seen}): compute it again")
        what = f"is another kind of result ({seen})" if seen.startswith(_OURS) else "is no result of dissect"
        raise DissectError(f"{file} {what}: give what {writer} wrote")
    return data


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the attribute ``format`` of a file; None where it cannot be read or has none."""
    try:
        with xr.open_dataset(path, engine=ENGINE) as data:
            return data.attrs.get("format")
    except (OSError, ValueError):
        return None
