"""The leaderboard: one page over the checkpoints of a verdict or an evaluation."""

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from dissect.autopsy.page import Section, Widget, page
from dissect.evaluation.evaluation_result import Evaluation
from dissect.unlearning.methods import METHODS
from dissect.verdicts.judged import Verdict
from dissect.verdicts.result import Verdicts

_RUN_FILE = "unlearning.jsonl"
"""What `dissect unlearn` leaves beside a checkpoint; its first line has the settings."""
_SETTINGS = ("lr", "epochs", "max_steps", "retain_loss", "lora_rank", "batch_size", "blocks", "seed")
"""Settings that tell runs of one method apart; a method's own follow."""
_LONGEST = 1 << 20
"""Bytes of a first line beyond which a file is no record of a run."""
_ANSWERED = ("contains", "exact_match", "rouge_l_recall")


def write_leaderboard(result: Verdicts | Evaluation, out: str | os.PathLike[str]) -> Path:
    """Write the page.

    Raises:
        DissectError: another suffix than ``.html``.
    """
    judged = isinstance(result, Verdicts)
    words = (
        "Forgotten: share of the base model's answers about the forget facts that are gone. Share left: what the panel "
        "of attacks still finds, 1 is all that the base model knows. Kept: share of the retain facts still answered. "
        "p: how often so much is found where nothing is left. Word: the verdict; tick a checkpoint to read why. "
        if judged
        else "Means over facts; the pointer shows the 95% interval. "
    )
    parts = [words + "Click a header to sort.", Widget("leaderboard", leaderboard_data(result))]
    return page("Checkpoints side by side", [Section("", parts)], out)


def leaderboard_data(result: Verdicts | Evaluation) -> dict[str, Any]:
    """Return columns and rows, with what stands on the axes of the picture."""
    return _of_verdicts(result) if isinstance(result, Verdicts) else _of_evaluation(result)


def _of_verdicts(verdicts: Verdicts) -> dict[str, Any]:
    places = verdicts.spec.get("checkpoints", {})
    everyone = [*verdicts, *([] if verdicts.retrained is None else [verdicts.retrained])]
    columns = ["checkpoint", "method", "settings", "forgotten", "kept", "share left", "p", "word"]
    rows = []
    for verdict in everyone:
        method, settings = _run(places.get(verdict.name))
        said = max((share.value for share in verdict.said.values()), default=None)
        forgotten = None if said is None else 1 - said
        kept = None if verdict.kept is None else verdict.kept.value
        cells = [verdict.name, method, settings, forgotten, kept, verdict.share_left.value, verdict.p_adjusted]
        rows.append(
            {
                "name": verdict.name,
                "word": verdict.verdict,
                "cells": [*cells, verdict.verdict],
                "x": kept,
                "y": forgotten,
                "intervals": _intervals(verdict),
                "detail": {"verdict": verdict.words}
                | {row.label: _finite(row.forced_choice) for row in verdict.attacks},
            }
        )
    return {"columns": _columns(columns, rows), "rows": rows, "sort": 5, "x": "kept", "y": "forgotten"}


def _intervals(verdict: Verdict) -> dict[str, str]:
    found = {"share left": str(verdict.share_left)}
    return found if verdict.kept is None else found | {"kept": str(verdict.kept)}


def _of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    single = [row for row in evaluation.rows if not row.at]
    keys = list(dict.fromkeys((row.measure, row.set) for row in single))
    labels = [f"{evaluation.measures.get(name, {}).get('label', name)}, {set}" for name, set in keys]
    values = {(row.model, row.measure, row.set): row for row in single}
    answered = next((name for name in _ANSWERED if (name, "forget") in keys), None)
    rows = []
    for model in evaluation.models:
        name = model["name"]
        method, settings = _run(model.get("path"))
        found = [values.get((name, *key)) for key in keys]
        forget, retain = (values.get((name, answered or "", set)) for set in ("forget", "retain"))
        rows.append(
            {
                "name": name,
                "word": "",
                "cells": [
                    name,
                    method or model.get("role", ""),
                    settings,
                    *(row.value if row else None for row in found),
                ],
                "x": retain.value if retain else None,
                "y": 1 - forget.value if forget else None,
                "intervals": {label: row.text for label, row in zip(labels, found, strict=True) if row},
                "detail": {},
            }
        )
    columns = _columns(["checkpoint", "method", "settings", *labels], rows)
    what = evaluation.measures.get(answered or "", {}).get("label", "answered")
    return {
        "columns": columns,
        "rows": rows,
        "sort": 0,
        "x": f"{what}, retain facts",
        "y": "forget facts no longer answered",
    }


def _columns(names: list[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"label": name, "number": any(isinstance(row["cells"][place], float) for row in rows)}
        for place, name in enumerate(names)
    ]


def _run(path: Any) -> tuple[str, str]:
    """Method and settings that the run left beside its checkpoint; empty where there is no record."""
    file = Path(str(path)) / _RUN_FILE
    if path is None or not file.is_file():
        return "", ""
    try:
        with file.open(encoding="utf-8") as lines:
            config = json.loads(lines.readline(_LONGEST)).get("config", {})
    except (ValueError, AttributeError, OSError):
        return "", ""
    if not isinstance(config, Mapping):
        return "", ""
    method = str(config.get("method", ""))
    mine = METHODS[method].own_settings if method in METHODS else ()
    foreign = {name for other in METHODS.values() for name in other.own_settings if name not in mine}
    shown = [name for name in dict.fromkeys((*_SETTINGS, *mine)) if name not in foreign]
    told = [f"{name} {config[name]}" for name in shown if config.get(name) not in (None, [], 0, "", "none")]
    return method, ", ".join(told)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
