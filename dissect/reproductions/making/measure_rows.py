"""Measures of a model on sets of facts by any name, as rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.measures import measure as catalogue
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import Measure
from dissect.reproductions.making.figure_work import FigureWork

AskedPairs = Sequence[tuple[str, str]]
"""(measure, set) pairs; ``el_3`` is the measure ``el`` with 3-grams."""
_SET = "forget"
"""Name under which measures see every set; they look only at its facts."""


class Bench:
    """Measures one model after the other; base and retrained model are computed once.

    Intervals draw facts singly, also where facts share a subject.
    """

    def __init__(
        self,
        work: FigureWork,
        sets: Mapping[str, Facts | None],
        *,
        base: HookedTransformer | None = None,
        retrained: HookedTransformer | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``options`` are those of measures, e.g. ``{"uds.tau": 0.1}``; others are compared with the two models."""
        self.sets = {name: facts for name, facts in sets.items() if facts is not None}
        self.settings = Settings(
            template=work.config.template,
            chat=work.config.chat,
            batch_size=work.config.batch_size,
            seed=work.seed,
            options={"el.orders": [3], **(options or {})},
        )
        self._references: dict[str, tuple[Examined | None, Examined | None]] = {}
        self.base, self.retrained = base, retrained

    def rows(self, model: HookedTransformer, asked: AskedPairs, **place: Any) -> list[dict[str, Any]]:
        """Return one row for each pair that is defined; ``place`` stands in all of them."""
        rows = []
        for name in dict.fromkeys(set for _, set in asked if set in self.sets):
            examined = self._examined(model, name)
            for measure in (measure for measure, set in asked if set == name):
                try:
                    estimate = _first(_measure(measure).compute(examined)).with_interval(seed=self.settings.seed)
                except Undefined:
                    continue
                rows.append({**place, "measure": measure, "set": name, **_numbers(estimate)})
        return rows

    def _examined(self, model: HookedTransformer, name: str) -> Examined:
        if name not in self._references:
            base, retrained = (None if m is None else self._new(m, name) for m in (self.base, self.retrained))
            for reference in (base, retrained):
                if reference is not None:
                    reference.attach(base=base, retrained=retrained)
            self._references[name] = base, retrained
        base, retrained = self._references[name]
        for reference in (base, retrained):
            if reference is not None and reference.model is model:
                return reference
        return self._new(model, name, base=base, retrained=retrained)

    def _new(self, model: HookedTransformer, name: str, **references: Any) -> Examined:
        return Examined(model, {_SET: self.sets[name]}, name=name, settings=self.settings, **references)


def averaged(table: pd.DataFrame, keys: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Average over concepts (``id``) rows that agree in ``keys``, with a bootstrap over concepts.

    Where there is one concept its rows stay as they are, with intervals over its facts.
    """
    if table["id"].nunique(dropna=True) < 2:
        return table.drop(columns="id").reset_index(drop=True)
    rows = []
    for group, part in table.groupby(list(keys), dropna=False, sort=False):
        estimate = mean_of(part["value"].to_numpy(), unit="concepts").with_interval(seed=seed)
        rows.append({**dict(zip(keys, group, strict=True)), **_numbers(estimate)})
    return pd.DataFrame(rows)


def label(measure: str) -> str:
    """Return the words for an axis."""
    return {"el_3": "EL₃", "ma": "MA"}.get(measure) or _measure(measure).label


def _measure(name: str) -> Measure:
    return catalogue.get("el" if name == "el_3" else name)


def _first(result: Estimate | Sequence[Estimate]) -> Estimate:
    return result if isinstance(result, Estimate) else result[0]


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": int(estimate.n),
        "unit": estimate.unit,
    }
