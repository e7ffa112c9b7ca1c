"""Computing what a report is made of, step by step; what a folder holds already is not computed again."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.evaluation.evaluate import chosen_measures, evaluate
from dissect.evaluation.sets import fingerprint
from dissect.metrics.drift import drift
from dissect.metrics.measure import FAMILIES
from dissect.models.pair import ModelPair
from dissect.patching.attribute import attribute
from dissect.patching.logit_lens import logit_lens
from dissect.patching.patch import patch
from dissect.provenance import versions
from dissect.report.results import FILES, Results, read_about, write_about
from dissect.report.settings import ReportSettings
from dissect.restoration.restore import restore
from dissect.restoration.smallest import smallest_set

log = logging.getLogger(__name__)

MAPPED = "resid_pre"
"""What maps over positions swap: the whole state before a layer."""
_CHECKED = 20
"""Heads that are also swapped exactly, where all others are estimated."""
PARAMETERS = ("mlp.W_out", "mlp", "attn", "block")
"""Value vectors, as in the paper, and larger parts of a layer, which say what value vectors alone cannot."""


def gather(
    pair: ModelPair,
    sets: Mapping[str, Facts],
    folder: Path,
    settings: ReportSettings,
    *,
    command: str = "",
    progress: bool = True,
) -> Results:
    """Compute every step that ``folder`` lacks, and read them all.

    Raises:
        DissectError: the folder is of other checkpoints, facts or settings. A step that is not defined for this pair is
            written down with its reason, and the others run.
    """
    about = _about(pair, sets, settings, command)
    before = read_about(folder)
    if before is not None and before["identity"] != about["identity"]:
        raise DissectError(
            f"{folder} holds a report of other checkpoints, facts or settings: choose another folder or delete it"
        )
    about = {**about, "missing": {}, "seconds": {}, **{k: before[k] for k in ("missing", "seconds") if before}}
    write_about(folder, about)
    work = _Work(pair, sets, settings, progress)
    for step in settings.steps:
        file = folder / FILES[step][0]
        if file.is_file() or step in about["missing"]:
            continue
        started = time.perf_counter()
        try:
            work.steps[step]().save(file)
        except DissectError as error:
            log.info("%s: %s", step, error)
            about["missing"][step] = str(error)
        about["seconds"][step] = round(time.perf_counter() - started, 1)
        write_about(folder, about)
    return Results.read(folder)


class _Work:
    """How each step is computed; prompts are made when the first step needs them."""

    def __init__(self, pair: ModelPair, sets: Mapping[str, Facts], settings: ReportSettings, progress: bool) -> None:
        self.pair, self.sets, self.settings, self.progress = pair, sets, settings, progress
        self.window = settings.window_of(pair.base.cfg.n_layers)
        self._prompts: Prompts | None = None
        self.steps: dict[str, Callable[[], Any]] = {
            "evaluation": self.evaluation,
            "activations": self.activations,
            "parameters": self.parameters,
            "smallest": self.smallest,
            "positions": self.positions,
            "heads": self.heads,
            "lens": self.lens,
            "drift": self.drift,
        }

    @property
    def prompts(self) -> Prompts:
        """The forget facts that sweeps run on."""
        if self._prompts is None:
            facts = self.sets["forget"]
            chosen = Facts(facts[place] for place in _evenly(range(len(facts)), self.settings.max_facts))
            self._prompts = chosen.prompts(
                self.pair.base,
                template=self.settings.template,
                answers=self.settings.answers,  # type: ignore[arg-type]
                max_new_tokens=self.settings.max_new_tokens,
                batch_size=self.settings.batch_size,
                progress=False,
            )
        return self._prompts

    @property
    def shown(self) -> Prompts:
        """Those of them that are drawn one by one."""
        return self.prompts[_shown(self.prompts, self.settings.n_shown)]

    @property
    def how(self) -> dict[str, Any]:
        return {"batch_size": self.settings.batch_size, "seed": self.settings.seed, "progress": self.progress}

    def evaluation(self) -> Any:
        sets = dict(self.sets)
        return evaluate(
            {"unlearned": self.pair.unlearned},
            forget=sets.pop("forget"),
            sets=sets,
            base=self.pair.base,
            retain_model=self.pair.retain,
            measures=_measures(self.settings, self.pair),
            template=self.settings.template,
            max_new_tokens=self.settings.max_new_tokens,
            options=self.settings.options,
            **self.how,
        )

    def activations(self) -> Any:
        return patch(self.pair, self.prompts, window=self.window, controls=True, metrics=("krs", "logprob"), **self.how)

    def parameters(self) -> Any:
        how = self.how | {"metrics": ("krs", "logprob")}
        return restore(self.pair, self.prompts, list(PARAMETERS), window=self.window, controls=True, **how)

    def smallest(self) -> Any:
        searched = _evenly(range(len(self.prompts)), self.settings.search_facts)
        return smallest_set(self.pair, self.prompts[searched], **self.how)

    def positions(self) -> Any:
        return patch(
            self.pair, self.shown, [MAPPED], window=1, positions="each", metrics=("krs", "logprob"), **self.how
        )

    def heads(self) -> Any:
        cfg = self.pair.base.cfg
        if cfg.n_layers * cfg.n_heads <= self.settings.exact_heads:
            return patch(self.pair, self.prompts, ["z"], window=1, heads="each", **self.how)
        return attribute(self.pair, self.prompts, ["z"], per="head", check=_CHECKED, **self.how)

    def lens(self) -> Any:
        return logit_lens(self.pair, self.shown, progress=self.progress)

    def drift(self) -> Any:
        return drift(self.pair, progress=self.progress)


def _measures(settings: ReportSettings, pair: ModelPair) -> list[str]:
    """Those that were asked for; by default everything, for one report trains little."""
    if settings.measures is not None:
        return [measure.name for measure in chosen_measures(settings.measures)]
    return [measure.name for measure in chosen_measures([*FAMILIES, *_TRAINING])]


_TRAINING = ("relearning",)
"""Slow measures that the verdict rests on."""


def _about(pair: ModelPair, sets: Mapping[str, Facts], settings: ReportSettings, command: str) -> dict[str, Any]:
    identity = {
        "checkpoints": pair.provenance(),
        "facts": {name: fingerprint(facts) for name, facts in sets.items()},
        "settings": settings.to_dict() | {"steps": None},
    }
    identity["settings"]["steps"] = None  # more steps may be computed later
    cfg = pair.base.cfg
    return {
        "identity": _plain(identity),
        "n_facts": {name: len(facts) for name, facts in sets.items()},
        "model": {
            "architecture": cfg.original_architecture,
            "n_layers": cfg.n_layers,
            "d_model": cfg.d_model,
            "n_heads": cfg.n_heads,
            "dtype": str(cfg.dtype).removeprefix("torch."),
        },
        "window": settings.window_of(cfg.n_layers),
        "command": command,
        "versions": versions(),
    }


def _plain(value: Any) -> Any:
    """As it is after JSON, so that what was read compares equal to what is to be written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _evenly(places: range, n: int) -> list[int]:
    """At most n of the places, spread evenly."""
    if len(places) <= n:
        return list(places)
    return [places[round(k * (len(places) - 1) / (n - 1))] if n > 1 else places[0] for k in range(n)]


def _shown(prompts: Prompts, n: int) -> list[int]:
    """Facts to draw maps of: of different subjects where there are, the first of each kind of question."""
    chosen: list[int] = []
    subjects: set[str] = set()
    for place, fact in enumerate(prompts.facts):
        subject = str(fact.extra.get("subject", place))
        if subject not in subjects and len(chosen) < n:
            chosen.append(place)
            subjects.add(subject)
    return chosen
