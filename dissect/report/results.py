"""What a report is made of: stored results, each of which may be missing."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.files import atomic_file
from dissect.measures.representation.drift_map import Drift
from dissect.patching.lens_table import LensTable
from dissect.restoration.smallest_result import SmallestSet
from dissect.sweep.sweep_result import SweepResult

FORMAT = "dissect-report-1"
ABOUT_FILE = "report.json"
FILES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "evaluation": ("evaluation.json", Evaluation.load),
    "activations": ("activations.nc", SweepResult.load),
    "parameters": ("parameters.nc", SweepResult.load),
    "smallest": ("smallest.json", SmallestSet.load),
    "positions": ("positions.nc", SweepResult.load),
    "heads": ("heads.nc", SweepResult.load),
    "lens": ("lens.nc", LensTable.load),
    "drift": ("drift.nc", Drift.load),
}
"""Step to file and reader."""
_KEYS = ("identity", "n_facts", "model", "window", "versions")
"""Without which there is no report."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was computed so far; a section whose part is None says that it is missing."""

    about: Mapping[str, Any]
    """The checkpoints, facts, settings, versions, the command to repeat it."""
    evaluation: Evaluation | None = None
    activations: SweepResult | None = None
    parameters: SweepResult | None = None
    smallest: SmallestSet | None = None
    positions: SweepResult | None = None
    heads: SweepResult | None = None
    lens: LensTable | None = None
    drift: Drift | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Step to the reason why there is nothing."""

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Results":
        """What a folder holds of a report, finished or not; no model is needed.

        Raises:
            DissectError: no such folder, or nothing of a report in it.
        """
        path = Path(folder)
        about = read_about(path)
        if about is None:
            raise DissectError(f"{path} holds nothing of a report: give the folder that dissect report wrote")
        found = {step: read(path / name) for step, (name, read) in FILES.items() if (path / name).is_file()}
        missing = {step: "it was not computed" for step in FILES if step not in found}
        return cls(about=about, missing=missing | about.get("missing", {}), **found)


def read_about(folder: Path) -> dict[str, Any] | None:
    """What the folder says it is of; None where it says nothing."""
    file = folder / ABOUT_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DissectError(f"{file} is damaged ({error}): delete the folder, or choose another") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DissectError(f"{file} is not of a report: choose another folder")
    if lacking := [key for key in _KEYS if key not in content]:
        raise DissectError(f"{file} is damaged (it has no {lacking[0]}): delete the folder, or choose another")
    return content


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Say what the folder is of."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / ABOUT_FILE) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **about}, indent=1, ensure_ascii=False), encoding="utf-8")
