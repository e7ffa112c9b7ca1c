"""The steps of a report: what is computed for each, and how."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dissect.data.fact import PARTNER
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.evaluation.evaluate import chosen_measures, evaluate
from dissect.measures.measure import FAMILIES
from dissect.measures.representation.drift import drift
from dissect.models.pair import ModelPair
from dissect.patching.attribute import attribute
from dissect.patching.logit_lens import logit_lens
from dissect.patching.patch import patch
from dissect.report.settings import ReportSettings
from dissect.restoration.restore import restore
from dissect.restoration.smallest import smallest_set

MAPPED = "resid_pre"
"""What maps over positions swap: the whole state before a layer."""
_CHECKED = 20
"""Heads that are also swapped exactly, where all others are estimated."""
PARAMETERS = ("mlp.W_out", "mlp", "attn", "block")
"""Value vectors, as in the paper, and larger parts of a layer, which say what value vectors alone cannot."""


class Work:
    """How each step is computed and written; prompts are made when the first step needs them."""

    def __init__(
        self, pair: ModelPair, sets: Mapping[str, Facts], settings: ReportSettings, task: str | None, progress: bool
    ) -> None:
        self.pair, self.sets, self.settings, self.task, self.progress = pair, sets, settings, task, progress
        self.window = settings.window_of(pair.base.cfg.n_layers)
        self._prompts: Prompts | None = None
        self.steps: dict[str, Callable[[Path], None]] = {
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
    def _how(self) -> dict[str, Any]:
        return {"batch_size": self.settings.batch_size, "seed": self.settings.seed, "progress": self.progress}

    def _shared(self, out: Path) -> dict[str, Any]:
        """Of what processes share: where, and that what stands there may be finished once more, from its journals."""
        return self._how | {"out": out, "task": self.task, "overwrite": True}

    def evaluation(self, out: Path) -> None:
        """The numbers of all models."""
        sets = dict(self.sets)
        evaluate(
            {"unlearned": self.pair.unlearned},
            forget=sets.pop("forget"),
            sets=sets,
            base=self.pair.base,
            retain_model=self.pair.retrained,
            measures=_measures(self.settings, self.pair),
            answers="base" if self._unanswered() else "gold",
            template=self.settings.template,
            max_new_tokens=self.settings.max_new_tokens,
            options=self.settings.options,
            **self._shared(out),
        )

    def _unanswered(self) -> bool:
        """Whether some facts come without answers: then the base model's own take the place of all."""
        facts = [fact for each in self.sets.values() for fact in each if fact.kind != "text"]
        return any(getattr(fact, PARTNER[fact.kind] or "text") is None for fact in facts)

    def activations(self, out: Path) -> None:
        """Activations swapped over windows of layers."""
        how = self._shared(out) | {"metrics": ("krs", "logprob")}
        patch(self.pair, self.prompts, window=self.window, controls=True, **how)

    def parameters(self, out: Path) -> None:
        """Parameters put back over windows of layers."""
        how = self._shared(out) | {"metrics": ("krs", "logprob")}
        restore(self.pair, self.prompts, list(PARAMETERS), window=self.window, controls=True, **how)

    def smallest(self, out: Path) -> None:
        """The smallest set of blocks that restores."""
        searched = _evenly(range(len(self.prompts)), self.settings.search_facts)
        smallest_set(self.pair, self.prompts[searched], **self._how).save(out)

    def positions(self, out: Path) -> None:
        """Maps over positions of a few facts."""
        how = self._shared(out) | {"metrics": ("krs", "logprob")}
        patch(self.pair, self.shown, [MAPPED], window=1, positions="each", **how)

    def heads(self, out: Path) -> None:
        """Heads one by one, exactly or to first order."""
        cfg, how = self.pair.base.cfg, self._shared(out)
        if cfg.n_layers * cfg.n_heads <= self.settings.exact_heads:
            patch(self.pair, self.prompts, ["z"], window=1, heads="each", **how)
        else:
            attribute(self.pair, self.prompts, ["z"], per="head", check=_CHECKED, **how)

    def lens(self, out: Path) -> None:
        """What the states of both models say, layer by layer."""
        logit_lens(self.pair, self.shown, progress=self.progress).save(out)

    def drift(self, out: Path) -> None:
        """How far each weight moved."""
        drift(self.pair, progress=self.progress).save(out)


def _measures(settings: ReportSettings, pair: ModelPair) -> list[str]:
    """Those that were asked for; by default everything, for one report trains little."""
    if settings.measures is not None:
        return [measure.name for measure in chosen_measures(settings.measures)]
    return [measure.name for measure in chosen_measures([*FAMILIES, *_TRAINING])]


_TRAINING = ("relearning",)
"""Slow measures that the verdict rests on."""


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
