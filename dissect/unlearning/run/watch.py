"""Looking at a model while it trains.

The trainer knows nothing of patching or restoration: what is measured is handed to it as a function of the model.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.sweep.over_steps import over_steps
from dissect.sweep.sweep_result import SweepResult

Measured = SweepResult | Mapping[str, float]
Measure = Callable[[HookedTransformer], Any]
"""From a model to ``Measured``."""


class Watch:
    """Measures the model at chosen steps: a callback for ``unlearn``.

    ::

        base = dissect.load("runs/base")
        watch = dissect.Watch(lambda model: dissect.patch(dissect.load_pair(base, model), prompts), every=10)
        dissect.unlearn(model, forget=facts, method="npo", callbacks=[watch])
        dissect.plots.heatmap(watch.result(), x="step", y="layer")

    Numbers go into the run's log. Of sweeps the log has the pooled recovery overall; the sweeps themselves are kept
    here, and with ``folder`` on disk, where a run that is continued finds those that it made before.

    Args:
        measure: from the model to a sweep, or to named numbers such as ``{"forget": 0.3}``.
        every: so many steps apart, and before the first one.
        steps: instead, the steps after which to measure; 0 is before the first one.
        name: of the measurement, in the log and in file names.
        folder: where sweeps are kept as ``<name>-<step>.nc``; a run that begins at its first step removes those of
            that name that are there.

    Raises:
        DissectError: ``every`` below 1, both or neither of ``every`` and ``steps``, a name that is no file name.
    """

    def __init__(
        self,
        measure: Measure,
        *,
        every: int | None = None,
        steps: Collection[int] | None = None,
        name: str = "watch",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if (every is None) == (steps is None):
            raise DissectError(f"give one of every and steps, got every={every}, steps={steps}")
        if every is not None and every < 1:
            raise DissectError(f"every={every}: at least 1 step apart")
        if not re.fullmatch(r"[\w.-]+", name):
            raise DissectError(f"name={name!r}: letters, digits, dots, dashes and underscores")
        self._measure, self._every, self._name = measure, every, name
        self._steps = None if steps is None else frozenset(steps)
        self._folder = None if folder is None else Path(folder)
        self._found: dict[int, Measured] = {}

    def __call__(self, model: HookedTransformer, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Measure, if it is time; what goes into the log."""
        step = int(record["step"])
        if step == 0 and self._folder is not None:
            for old in self._folder.glob(f"{self._name}-*.nc"):
                old.unlink(missing_ok=True)  # a run that begins anew: what lies here is of another one
        due = step in self._steps if self._steps is not None else step % (self._every or 1) == 0
        if not due:
            return None
        found = self._measure(model)
        if not isinstance(found, (SweepResult, Mapping)):
            raise DissectError(f"{self._name!r} measured a {type(found).__name__}: give a sweep, or numbers by name")
        self._found[step] = found
        if isinstance(found, SweepResult):
            if self._folder is not None:
                found.save(self._folder / f"{self._name}-{step:06d}.nc")
            numbers: dict[str, float] = {m: float(found.pooled(m).mean()) for m in found.metrics}
        else:
            numbers = {key: float(value) for key, value in found.items()}
        return {"name": self._name, **numbers}

    def result(self) -> SweepResult:
        """The sweeps of all steps as one, with ``step`` as a further dimension.

        Raises:
            DissectError: no sweep was made.
        """
        sweeps = {step: found for step, found in self._found.items() if isinstance(found, SweepResult)}
        if self._folder is not None:
            for path in sorted(self._folder.glob(f"{self._name}-*.nc")):
                sweeps.setdefault(int(path.stem.rpartition("-")[2]), SweepResult.load(path))
        if not sweeps:
            raise DissectError(f"{self._name!r} has made no sweep so far: see that its steps are reached")
        return over_steps(sweeps)

    def table(self) -> pd.DataFrame:
        """The numbers of all steps, one row each.

        Raises:
            DissectError: none were measured.
        """
        rows = {step: dict(found) for step, found in sorted(self._found.items()) if not isinstance(found, SweepResult)}
        if not rows:
            raise DissectError(f"{self._name!r} has measured no numbers so far: result() gives its sweeps")
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("step")
