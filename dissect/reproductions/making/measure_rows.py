"""Measures of a model on sets of facts by any name, as rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.evaluation.tools import tools
from dissect.measures import measure as catalogue
from dissect.measures.examined import Settings, Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.reproductions.making.figure_work import Work

Asked = Sequence[tuple[str, str]]
"""(measure, set) pairs; ``el_3`` is the measure ``el`` with 3-grams."""
_SET = "forget"
"""What every set is called towards the measures, which look only at its facts."""


class Bench:
    """Measures one model after the other; what base and retrained model say is computed once."""

    def __init__(
        self,
        work: Work,
        sets: Mapping[str, Facts | None],
        *,
        base: HookedTransformer | None = None,
        retain: HookedTransformer | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``options`` are those of measures, such as ``{"uds.tau": 0.1}``; ``base`` and ``retain`` are the roles."""
        self.sets = {name: facts for name, facts in sets.items() if facts is not None}
        self.settings = Settings(
            template=work.config.template,
            batch_size=work.config.batch_size,
            seed=work.seed,
            options={"el.orders": [3], **(options or {})},
        )
        self._beside: dict[str, tuple[Subject | None, Subject | None]] = {}
        self.base, self.retain = base, retain

    def rows(self, model: HookedTransformer, asked: Asked, **place: Any) -> list[dict[str, Any]]:
        """One row for each pair that is defined; ``place`` stands in all of them."""
        found = []
        for name in dict.fromkeys(set for _, set in asked if set in self.sets):
            subject = self._subject(model, name)
            for measure in (measure for measure, set in asked if set == name):
                try:
                    estimate = _one(_measure(measure).compute(subject))
                except Undefined:
                    continue
                found.append({**place, "measure": measure, "set": name, **_numbers(estimate)})
        return found

    def _subject(self, model: HookedTransformer, name: str) -> Subject:
        if name not in self._beside:
            base, retain = (None if m is None else self._new(m, name) for m in (self.base, self.retain))
            for role in (base, retain):
                if role is not None:
                    role.play(base=base, retain=retain)
            self._beside[name] = base, retain
        base, retain = self._beside[name]
        for role in (base, retain):
            if role is not None and role.model is model:
                return role
        return self._new(model, name, base=base, retain=retain)

    def _new(self, model: HookedTransformer, name: str, **roles: Any) -> Subject:
        return Subject(model, {_SET: self.sets[name]}, name=name, settings=self.settings, tools=tools(), **roles)


def averaged(table: pd.DataFrame, keys: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Mean over concepts (``id``) of rows that agree in ``keys``, with a bootstrap over concepts.

    Where there is one concept its rows stay as they are, with intervals over its facts.
    """
    if table["id"].nunique(dropna=True) < 2:
        return table.drop(columns="id").reset_index(drop=True)
    rows = []
    for place, part in table.groupby(list(keys), dropna=False, sort=False):
        estimate = mean_of(part["value"].to_numpy(), seed=seed, unit="concepts")
        rows.append({**dict(zip(keys, place, strict=True)), **_numbers(estimate)})
    return pd.DataFrame(rows)


def label(measure: str) -> str:
    """Words for an axis."""
    return {"el_3": "EL₃", "ma": "MA"}.get(measure) or _measure(measure).label


def _measure(name: str) -> Measure:
    return catalogue.get("el" if name == "el_3" else name)


def _one(found: Estimate | Sequence[Estimate]) -> Estimate:
    return found if isinstance(found, Estimate) else found[0]


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": int(estimate.n),
        "unit": estimate.unit,
    }
