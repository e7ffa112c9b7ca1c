"""Probing a model while it trains.

The trainer knows nothing of patching or restoration: a probe is handed to it as a function of the model.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.sweep.results.over_steps import over_steps
from dissect.sweep.results.sweep_result import SweepResult

Probed = SweepResult | Mapping[str, float]
"""A sweep, or numbers by name."""
Probe = Callable[[HookedTransformer], Any]
"""Function from a model to `Probed`."""


@keywords(renamed={"measure": "probe"})
class Watch:
    """Probes the model at chosen steps: a callback for ``unlearn``.

    ::

        base = dissect.load("runs/base")
        watch = dissect.Watch(lambda model: dissect.patch(dissect.load_pair(base, model), prompts), every=10)
        dissect.unlearn(model, forget=facts, method="npo", callbacks=[watch])
        dissect.plots.heatmap(watch.result(), x="step", y="layer")

    Numbers go into the run's log. For a sweep the log has the mean pooled recovery; the sweeps themselves are kept
    here, and with ``folder`` on disk, where a run that is continued finds those that it made before.

    Args:
        probe: function from the model to a sweep, or to named numbers such as ``{"forget": 0.3}``.
        every: probe before the first step and then every so many steps.
        steps: probe after these steps instead; 0 is before the first one.
        name: name of the probe, in the log and in file names.
        folder: directory for sweeps, as ``<name>-<step>.nc``; a run that begins at its first step removes earlier
            sweeps of that name.

    Raises:
        DissectError: ``every`` below 1, both or neither of ``every`` and ``steps``, a name that is no file name.
    """

    def __init__(
        self,
        probe: Probe,
        *,
        every: int | None = None,
        steps: Collection[int] | None = None,
        name: str = "watch",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if not callable(probe):
            raise DissectError(f"probe must be a function of the model, got {type(probe).__name__}")
        if (every is None) == (steps is None):
            raise DissectError(f"exactly one of every and steps must be given, got every={every}, steps={steps}")
        if every is not None and every < 1:
            raise DissectError(f"every={every}: must be 1 or more steps")
        if not re.fullmatch(r"[\w.-]+", name):
            raise DissectError(
                f"name={name!r}: must be letters, digits, dots, dashes and underscores, as it names files"
            )
        self._probe, self._every, self._name = probe, every, name
        self._steps = None if steps is None else frozenset(steps)
        self._folder = None if folder is None else Path(folder)
        self._probed: dict[int, Probed] = {}

    def __call__(self, model: HookedTransformer, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Probe the model if it is time, and return the numbers for the log."""
        step = int(record["step"])
        if step == 0 and self._folder is not None:
            for old in self._folder.glob(f"{self._name}-*.nc"):
                if re.fullmatch(rf"{re.escape(self._name)}-\d{{6,}}\.nc", old.name):
                    old.unlink(missing_ok=True)  # a run that starts over: these sweeps are of another one
        due = step in self._steps if self._steps is not None else step % (self._every or 1) == 0
        if not due:
            return None
        probed = self._probe(model)
        if not isinstance(probed, (SweepResult, Mapping)):
            raise DissectError(
                f"the probe {self._name!r} must return a sweep or numbers by name, got {type(probed).__name__}"
            )
        self._probed[step] = probed
        if isinstance(probed, SweepResult):
            if self._folder is not None:
                probed.save(self._folder / f"{self._name}-{step:06d}.nc")
            numbers: dict[str, float] = {metric: float(probed.pooled(metric).mean()) for metric in probed.metrics}
        else:
            numbers = {key: float(value) for key, value in probed.items()}
        return {"name": self._name, **numbers}

    def result(self) -> SweepResult:
        """Join the sweeps of all steps, with ``step`` as a further dimension.

        Raises:
            DissectError: no sweep was made.
        """
        sweeps = {step: probed for step, probed in self._probed.items() if isinstance(probed, SweepResult)}
        if self._folder is not None:
            for path in sorted(self._folder.glob(f"{self._name}-*.nc")):
                sweeps.setdefault(int(path.stem.rpartition("-")[2]), SweepResult.load(path))
        if not sweeps:
            raise DissectError(
                f"the probe {self._name!r} has returned no sweep so far: check that its steps are reached"
            )
        return over_steps(sweeps)

    def table(self) -> pd.DataFrame:
        """Return the numbers of all steps, one row each.

        Raises:
            DissectError: the probe returned no numbers.
        """
        rows = {step: dict(each) for step, each in sorted(self._probed.items()) if not isinstance(each, SweepResult)}
        if not rows:
            raise DissectError(f"the probe {self._name!r} has returned no numbers so far: result() joins its sweeps")
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("step")
