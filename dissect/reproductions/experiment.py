"""The UnDIAL paper's experiments: sweeps over settings, requests in turn, sets that grow; described by YAML files.

An experiment names what is varied; checkpoint, facts and what is measured are given when it is run, so that the same
file serves the embedded world and a published checkpoint. Finished runs are taken as they are when it is run again.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import DissectError, near_miss
from dissect.files import atomic_file
from dissect.models.files.load import load
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.settings_file import number
from dissect.unlearning.config.train_config import make_config
from dissect.unlearning.run.requests import KINDS as SEVERAL
from dissect.unlearning.run.requests import unlearn_requests
from dissect.unlearning.unlearn import unlearn

KINDS = ("grid", *SEVERAL)
Evaluate = Callable[[HookedTransformer], Mapping[str, float]]
"""From a trained model to named numbers."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is varied.

    Raises:
        DissectError: a kind, a setting or a value that does not exist.
    """

    __no_type_check__ = True  # what stands in a file is checked below, by name

    name: str
    kind: str = "grid"
    """``grid``: each combination of ``over`` from the base model; ``in_turn``: requests one after the other, each from
    the checkpoint of the last; ``growing``: from the base model on one request, two, three, ..."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ``TrainConfig``, common to all runs."""
    over: dict[str, list[Any]] = field(default_factory=dict)
    """Setting to the values that are tried."""
    n_requests: int = 1
    """Into so many requests the forget facts are cut, in their order."""

    def __post_init__(self) -> None:
        """Check every run before the first."""
        if self.kind not in KINDS:
            raise DissectError(f"kind={self.kind!r}{near_miss(str(self.kind), KINDS)}: choose from {', '.join(KINDS)}")
        if self.kind != "grid" and self.n_requests < 2:
            raise DissectError(f"n_requests={self.n_requests}: {self.kind} is about several requests, at least 2")
        if not all(isinstance(values, list) and values for values in self.over.values()):
            raise DissectError(f"over={self.over!r}: give a list of values for each setting that is varied")
        for settings in self.runs():
            make_config(settings)

    def runs(self) -> Iterator[dict[str, Any]]:
        """The settings of each run, or of each sequence of runs."""
        for values in itertools.product(*self.over.values()):
            yield self.settings | dict(zip(self.over, values, strict=True))


def available() -> list[str]:
    """Names of the experiments that come with dissect."""
    return sorted(file.name.removesuffix(".yaml") for file in _shipped().iterdir() if file.name.endswith(".yaml"))


def read_experiment(name: str | os.PathLike[str]) -> Experiment:
    """An experiment that comes with dissect, or of a YAML file.

    Raises:
        DissectError: neither, or a file that is no experiment.
    """
    path: Any = Path(name)
    if not path.is_file():
        if str(name) not in available():
            raise DissectError(
                f"no experiment {str(name)!r}{near_miss(str(name), available())}: give a YAML file, or one of "
                f"{', '.join(available())}"
            )
        path = _shipped() / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise DissectError(f"an experiment says what is varied, such as 'over: {{lr: [1.0e-4]}}', got {content!r}")
        content["settings"] = _plain(content.get("settings", {}))
        content["over"] = {key: _numbers(values) for key, values in (content.get("over") or {}).items()}
        return Experiment(**{"name": path.name.removesuffix(".yaml"), **content})
    except (TypeError, yaml.YAMLError, DissectError) as error:
        raise DissectError(f"{path.name}: {' '.join(str(error).split())}") from error


def run_experiment(
    experiment: Experiment,
    base: str | os.PathLike[str],
    *,
    forget: Facts,
    retain: Facts | None = None,
    evaluate: Evaluate,
    out: str | os.PathLike[str],
    device: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Every run of an experiment, and what ``evaluate`` says of each model; also of the base model.

    Writes a checkpoint a run, and ``table.csv``, which the returned table is. Settings that are varied are columns;
    ``request`` counts requests from 1, and is 0 for the base model.

    Args:
        retain: for the methods that use it; left out of the others.

    Raises:
        DissectError: as ``dissect.unlearn``, or fewer forget facts than requests.
    """
    out = Path(out)
    for settings in experiment.runs():
        if retain is None and (settings.get("method") == "grad_diff" or settings.get("retain_loss") is not None):
            raise DissectError(f"a run of {experiment.name} has a retain loss: give retained facts")
    requests = _cut(forget, experiment.n_requests)
    rows: list[dict[str, Any]] = [{"request": 0, **evaluate(load(base, device=device, progress=False))}]
    for settings in experiment.runs():
        varied = {key: settings[key] for key in experiment.over}
        place = out / (_label(varied) or "run")
        kept = None if settings.get("method", "ga") == "ga" else retain
        how: dict[str, Any] = {"retain": kept, "progress": progress, **settings}
        if experiment.kind == "grid":
            model = load(base, device=device, progress=False)
            models = [unlearn(model, forget=forget, out=place, reuse=True, **how).model]
        else:
            runs = unlearn_requests(base, requests, kind=experiment.kind, out=place, device=device, **how)
            models = [run.model for run in runs]
        for request, model in enumerate(models, start=1):
            rows.append({**varied, "request": request, **evaluate(model)})
    table = pd.DataFrame(rows)[[*experiment.over, *(key for key in rows[-1] if key not in experiment.over)]]
    with atomic_file(out / "table.csv") as temporary:
        table.to_csv(temporary, index=False)
    return table


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with their preset, if one is named, written out."""
    named = {key: number(value) for key, value in settings.items() if key != "preset"}
    return preset(str(settings["preset"])) | named if "preset" in settings else named


def _numbers(values: Any) -> Any:
    return [number(value) for value in values] if isinstance(values, list) else values


def _cut(facts: Facts, n: int) -> list[Facts]:
    if len(facts) < n:
        raise DissectError(f"{len(facts)} forget facts cannot be cut into {n} requests: give more")
    ends = [round(len(facts) * i / n) for i in range(n + 1)]
    return [facts[start:stop] for start, stop in itertools.pairwise(ends)]


def _label(settings: Mapping[str, Any]) -> str:
    """A directory name, such as ``lr=0.0001 gamma=3``."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items()).replace("/", "_").replace('"', "")


def _shipped() -> Any:
    return files("dissect.reproductions") / "experiments"
