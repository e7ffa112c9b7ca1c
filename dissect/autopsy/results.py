"""Stored results that a report is made of, each of which may be missing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissect.autopsy.picker.fact_table import FactTable
from dissect.autopsy.steps import STEPS
from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.files import atomic_file
from dissect.measures.representation.drift_map import Drift
from dissect.patching.lens_table import LensTable
from dissect.restoration.smallest_result import SmallestSet
from dissect.sweep.results.sweep_result import SweepResult
from dissect.verdicts.result import Verdicts

FORMAT = "dissect-report-1"
ABOUT_FILE = "report.json"
_KEYS = ("identity", "n_facts", "model", "window", "versions")
"""Keys without which a report file is damaged."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the steps by name, None where there is none yet; its section then says that it is missing."""

    about: Mapping[str, Any]
    """The checkpoints, facts, settings, versions, the command to repeat it."""
    verdict: Verdicts | None = None
    evaluation: Evaluation | None = None
    activations: SweepResult | None = None
    parameters: SweepResult | None = None
    smallest: SmallestSet | None = None
    positions: SweepResult | None = None
    heads: SweepResult | None = None
    lens: LensTable | None = None
    facts: FactTable | None = None
    drift: Drift | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Step to the reason why it has no result."""

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Results":
        """Read the results of a report, finished or not; no model is needed.

        Raises:
            DissectError: no such folder, or nothing of a report in it.
        """
        path = Path(folder)
        about = read_about(path)
        if about is None:
            raise DissectError(f"{path} holds nothing of a report: give the folder that dissect report wrote")
        files = {name: path / step.file for name, step in STEPS.items()}
        results: dict[str, Any] = {
            name: STEPS[name].result.load(file) for name, file in files.items() if file.is_file()
        }
        missing = {name: "it was not computed" for name in STEPS if name not in results}
        return cls(about=about, missing=missing | about.get("missing", {}), **results)


def read_about(folder: Path) -> dict[str, Any] | None:
    """Read what the folder says about its report; None where there is none."""
    file = folder / ABOUT_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DissectError(f"{file} is damaged ({error}): delete the folder, or choose another") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DissectError(f"{file} does not belong to a report: choose another folder")
    if lacking := [key for key in _KEYS if key not in content]:
        raise DissectError(f"{file} is damaged (it has no {lacking[0]}): delete the folder, or choose another")
    return content


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what the folder holds a report of."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / ABOUT_FILE) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **about}, indent=1, ensure_ascii=False), encoding="utf-8")
