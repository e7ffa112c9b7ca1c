"""`Evaluation`: the numbers of one or many checkpoints, with their definitions, kept as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from dissect.errors import DissectError, near_miss
from dissect.evaluation.scored_row import Refusal, ScoredRow, row_in, row_out
from dissect.measures.estimate import Estimate, mean_of
from dissect.statistics.wilson import FEW
from dissect.stored_result import StoredRecord

INTERVAL = (
    "95 % percentile bootstrap over the items, 2000 resamples, whole subjects where facts share them, unless the "
    f"definition says otherwise; Wilson's score interval for shares of yes/no items where fewer than {FEW} subjects "
    "say yes, or fewer say no"
)

_NEXT = "Next: .curve(measure, along), .side_by_side() for answers, dissect.pick(evaluation) to sort and compare"


@dataclass(frozen=True, kw_only=True)
class Evaluation(StoredRecord):
    """Numbers of checkpoints with their intervals; ``table()`` shows them, ``save`` keeps them.

    The file is JSON, which any language reads; numbers that are not finite are null.
    """

    FORMAT = "dissect-evaluation-1"
    WRITER = "`dissect evaluate` or Evaluation.save"

    models: list[dict[str, Any]]
    """``name``, ``path``, ``fingerprint`` and, for a base or retrained model, its ``role``."""
    rows: list[ScoredRow]
    refused: list[Refusal]
    answers: list[dict[str, str]]
    """Some greedy answers: ``set``, ``question``, ``prompt``, ``expected``, and by model's name what it said."""
    measures: dict[str, dict[str, str]]
    """Label, definition, family, and which values mean that the model knows (``knows``), by name."""
    spec: dict[str, Any]
    """Facts, options, seed, versions."""

    @property
    def names(self) -> list[str]:
        """Names of the checkpoints, in order."""
        return [model["name"] for model in self.models]

    def get(self, model: str, measure: str, set: str = "forget", /, **at: float | int | str) -> ScoredRow:
        """Return one number.

        Raises:
            DissectError: it was not measured, with the reason if it was refused.
        """
        rows = [r for r in self.rows if (r.model, r.measure, r.set, dict(r.at)) == (model, measure, set, at)]
        if rows:
            return rows[0]
        for refusal in self.refused:
            if (refusal.model, refusal.measure, refusal.set) == (model, measure, set):
                raise DissectError(f"{measure} of {model} on {set}: {refusal.reason}")
        raise DissectError(self._missing(model, measure, set, at))

    def has(self, model: str, measure: str, set: str = "forget") -> bool:
        """Return whether there is any such number."""
        return any((r.model, r.measure, r.set) == (model, measure, set) for r in self.rows)

    def curve(self, measure: str, along: str, set: str = "forget") -> pd.DataFrame:
        """Return the numbers of a measure along a curve, e.g. ``along="layer"``: one row each, places as columns."""
        return pd.DataFrame(
            [
                {"model": r.model, "value": r.value, "low": r.low, "high": r.high, "n": r.n, **r.at}
                for r in self.rows
                if r.measure == measure and r.set == set and along in r.at
            ]
        )

    def difference(self, measure: str, first: str, second: str, set: str = "forget", *, seed: int = 0) -> Estimate:
        """Return ``first`` minus ``second`` over the same facts, with the bootstrap interval of the paired difference.

        Raises:
            DissectError: a measure that is no mean over facts, or different facts.
        """
        a, b = (self.get(model, measure, set).items for model in (first, second))
        if a is None or b is None or len(a) != len(b):
            raise DissectError(f"{measure} is no mean over the same facts in both: compare the intervals instead")
        return mean_of(np.array(a) - np.array(b)).with_interval(self.subjects(set), seed=seed)

    def subjects(self, set: str) -> Int[np.ndarray, " fact"] | None:
        """Return the number of each fact's subject; None where no two facts of the set share one."""
        numbers = self.spec.get("subjects", {}).get(set)
        return None if numbers is None else np.array(numbers)

    def to_dataframe(self) -> pd.DataFrame:
        """Return every number as a row, with the places on curves as further columns."""
        rows = [
            {**{k: getattr(r, k) for k in ("model", "measure", "set", "value", "low", "high", "n", "unit")}, **r.at}
            for r in self.rows
        ]
        return pd.DataFrame(rows)

    def table(self, *, curves: bool = False, words: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Return a row for each measure and set and a column for each checkpoint: value and interval as text.

        Args:
            curves: include the points of curves.
            words: the verdict on each checkpoint, by its name, for a first row beside the numbers.
        """
        rows = [row for row in self.rows if curves or not row.at]
        keys = list(dict.fromkeys((r.measure, r.set, _place(r.at), r.n) for r in rows))
        # how many items there are may differ between models (facts for which a ratio is not defined)
        keys = list({key[:3]: key for key in reversed(keys)}.values())[::-1]
        cells = {(r.measure, r.set, _place(r.at), r.model): r.text for r in rows}
        data = [
            {
                "measure": self.measures.get(key[0], {}).get("label", key[0]),
                "set": key[1],
                **({"at": key[2]} if curves else {}),
                "n": key[3],
                **{name: cells.get((*key[:3], name), "") for name in self.names},
            }
            for key in keys
        ]
        if words:
            said = {name: words.get(name, "") for name in self.names}
            data.insert(0, {"measure": "verdict", "set": "", **({"at": ""} if curves else {}), "n": "", **said})
        return pd.DataFrame(data)

    def side_by_side(self, set: str | None = None) -> pd.DataFrame:
        """Return the kept answers: prompt, expected answer, and a column for each checkpoint with what it said."""
        rows = [row for row in self.answers if set in (None, row["set"])]
        return pd.DataFrame(rows, columns=["set", "prompt", "expected", *self.names])

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "interval": INTERVAL,
            "spec": self.spec,
            "models": self.models,
            "measures": self.measures,
            "rows": [row_out(row) for row in self.rows],
            "refused": [vars(refusal) for refusal in self.refused],
            "answers": self.answers,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Evaluation":
        """Build the evaluation from the content of a file."""
        return cls(
            models=content["models"],
            rows=[row_in(row) for row in content["rows"]],
            refused=[Refusal(**refusal) for refusal in content["refused"]],
            answers=content["answers"],
            measures=content["measures"],
            spec=content["spec"],
        )

    def _repr_html_(self) -> str:
        return f"{self.table().to_html(index=False, escape=True)}<p>{_NEXT}</p>"

    def __repr__(self) -> str:
        return f"Evaluation of {', '.join(self.names)}\n{self.table().to_string(index=False)}\n{_NEXT}"

    def _missing(self, model: str, measure: str, set: str, at: Mapping[str, Any]) -> str:
        if model not in self.names:
            return f"no checkpoint {model!r}{near_miss(model, self.names)}: there are {', '.join(self.names)}"
        there = {row.measure for row in self.rows if row.model == model}
        if measure not in there:
            return f"no measure {measure!r} of {model}{near_miss(measure, there)}: there are {', '.join(sorted(there))}"
        places = [f"{r.set} {_place(r.at)}".strip() for r in self.rows if (r.model, r.measure) == (model, measure)]
        return f"no {measure} of {model} on {set} {_place(at)}: there are {', '.join(places[:8])}".replace("  ", " ")


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Join evaluations of different checkpoints on the same facts."""
    answers: dict[tuple[str, str], dict[str, str]] = {}
    for part in parts:
        for row in part.answers:
            answers.setdefault((row["set"], row["prompt"]), {}).update(row)
    return Evaluation(
        models=[model for part in parts for model in part.models],
        rows=[row for part in parts for row in part.rows],
        refused=[refusal for part in parts for refusal in part.refused],
        answers=list(answers.values()),
        measures={name: about for part in parts for name, about in part.measures.items()},
        spec=parts[0].spec,
    )


def _place(at: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in at.items())
