"""Results that are saved and read back without any model: as netCDF where they are arrays, else as JSON."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import xarray as xr

from dissect import netcdf
from dissect.errors import DissectError
from dissect.files import atomic_file

Result = TypeVar("Result", bound="StoredResult")
Dataset = TypeVar("Dataset", bound="StoredDataset")
Record = TypeVar("Record", bound="StoredRecord")


class StoredResult(ABC):
    """A result with a file format of its own."""

    FORMAT: ClassVar[str]
    """Name and number of the file format; stands in every file."""
    WRITER: ClassVar[str]
    """Commands and methods that write such files, for error messages."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result; an existing file is replaced whole or not at all. Returns the path."""

    @classmethod
    @abstractmethod
    def load(cls: type[Result], path: str | os.PathLike[str]) -> Result:
        """Read what ``save`` wrote; no model is needed.

        Raises:
            DissectError: no such file, or something else.
        """


class StoredDataset(StoredResult):
    """A result that is a labelled ``xarray.Dataset``, kept as netCDF."""

    def __init__(self, data: xr.Dataset) -> None:
        self.data = data

    @property
    def spec(self) -> dict[str, Any]:
        """How the result was made: settings, models, checkpoints."""
        return json.loads(self.data.attrs["spec"])

    @property
    def versions(self) -> dict[str, str]:
        """Versions of Python and of the packages that computed it."""
        return json.loads(self.data.attrs["versions"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write netCDF; an existing file is replaced whole or not at all. Returns the path."""
        netcdf.save(self.to_dataset(), path)
        return Path(path)

    @classmethod
    def load(cls: type[Dataset], path: str | os.PathLike[str]) -> Dataset:
        """Read what ``save`` wrote; no model is needed.

        Raises:
            DissectError: no such file, or something else.
        """
        return cls.from_dataset(netcdf.load(path, cls.FORMAT, cls.WRITER))

    def to_dataset(self) -> xr.Dataset:
        """Return the content of the file."""
        return self.data

    @classmethod
    def from_dataset(cls: type[Dataset], data: xr.Dataset) -> Dataset:
        """Build the result from the content of a file."""
        return cls(data)


class StoredRecord(StoredResult):
    """A result of plain values, kept as JSON."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file, JSON-serialisable, without its format."""

    @classmethod
    @abstractmethod
    def from_dict(cls: type[Record], content: Mapping[str, Any]) -> Record:
        """Build the result from the content of a file."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write JSON; an existing file is replaced whole or not at all. Returns the path.

        Raises:
            DissectError: another suffix than ``.json``.
        """
        file = Path(path)
        if file.suffix.lower() != ".json":
            raise DissectError(f"the file must end in .json, got {file.name!r}: the result is written as JSON")
        content = {"format": self.FORMAT, **self.to_dict()}
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        return file

    @classmethod
    def load(cls: type[Record], path: str | os.PathLike[str]) -> Record:
        """Read what ``save`` wrote; no model is needed.

        Raises:
            DissectError: no such file, or something else.
        """
        file = Path(path)
        if not file.is_file():
            raise DissectError(f"no file {file}: give what {cls.WRITER} wrote")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or content.pop("format", None) != cls.FORMAT:
                raise DissectError(f"{file} is another kind of file: give what {cls.WRITER} wrote")
            return cls.from_dict(content)
        except DissectError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DissectError(f"{file} cannot be read ({error}): it is damaged or something else") from error
