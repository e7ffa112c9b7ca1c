"""A retrained model's results from a file, in place of the model: dissect's own, or open-unlearning's logs."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from dissect.errors import DissectError, Undefined
from dissect.measures.option import Option


def stored(name: str, about: str) -> Option[str]:
    """Return an option that names a file of results."""
    expected = "a JSON file of results"
    return Option(name, "", about, expected, lambda value: isinstance(value, (str, os.PathLike)))


def stored_log_ratios(path: str) -> np.ndarray:
    """log R of each forget fact in the retrained model.

    Args:
        path: an evaluation by dissect with the measure ``log_truth_ratio``, or open-unlearning's ``TOFU_EVAL.json``.

    Raises:
        Undefined: the file cannot be read, or holds no truth ratios.
    """
    content = _content(path)
    if "rows" in content:
        rows = [row for row in content["rows"] if row.get("measure") == "log_truth_ratio" and row.get("items")]
        if len(rows) != 1:
            raise Undefined(
                f"{path}: expected one checkpoint's log_truth_ratio, got {len(rows)}: evaluate the retrained model "
                "alone, with measures=['log_truth_ratio']"
            )
        return np.array([np.nan if item is None else item for item in rows[0]["items"]], dtype=np.float64)
    held = content.get("forget_truth_ratio", content.get("forget_Truth_Ratio", {})).get("value_by_index")
    if not held:
        raise Undefined(
            f"{path}: expected log_truth_ratio of dissect or forget_truth_ratio of open-unlearning, got none"
        )
    with np.errstate(divide="ignore"):
        return np.log(np.array([each["score"] for each in held.values()], dtype=np.float64))


def stored_area(path: str) -> float:
    """A of the retrained model: the chance that a non-member looks more like a member, by Min-K%.

    Args:
        path: open-unlearning's ``MUSE_EVAL.json`` (its ``mia_min_k``), or MUSE's own ``auc.json``.

    Raises:
        Undefined: the file cannot be read, or holds neither.
    """
    content = _content(path)
    if "forget_holdout_Min-40%" in content:
        return float(content["forget_holdout_Min-40%"])
    area = content.get("mia_min_k", {}).get("agg_value")
    if area is None:
        raise Undefined(
            f"{path}: expected MUSE's 'forget_holdout_Min-40%' or open-unlearning's 'mia_min_k', got neither"
        )
    return 1 - float(area)


def _content(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Undefined(f"stored results {path} cannot be read ({error}): check the path") from DissectError(str(error))
    if not isinstance(content, dict):
        raise Undefined(f"stored results {path} must be an object, got a {type(content).__name__}")
    return content
