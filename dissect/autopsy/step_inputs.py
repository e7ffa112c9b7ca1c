"""Inputs of the steps of a report: models, facts, settings, and the prompts made of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissect.autopsy.settings import ReportSettings
from dissect.data.fact import PARTNER
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.models.pair import ModelPair


class StepInputs:
    """Inputs of every step; prompts are made when the first step needs them."""

    def __init__(
        self,
        pair: ModelPair,
        sets: Mapping[str, Facts],
        settings: ReportSettings,
        task: str | None,
        progress: bool,
        *,
        verdict: Path | None = None,
        verdict_named: bool = False,
    ) -> None:
        self.verdict, self.verdict_named = verdict, verdict_named
        self.pair, self.sets, self.settings, self.task, self.progress = pair, sets, settings, task, progress
        self.window = settings.window_of(pair.base.cfg.n_layers)
        self._prompts: Prompts | None = None

    @property
    def prompts(self) -> Prompts:
        """The forget facts that sweeps run on."""
        if self._prompts is None:
            facts = self.sets["forget"]
            drawn = Facts(facts[number] for number in evenly(len(facts), self.settings.max_facts))
            self._prompts = drawn.prompts(
                self.pair.base,
                template=self.settings.template,
                chat=self.settings.chat,
                answers="base" if self.unanswered else self.settings.answers,  # type: ignore[arg-type]
                max_new_tokens=self.settings.max_new_tokens,
                batch_size=self.settings.batch_size,
                progress=False,
            )
        return self._prompts

    @property
    def shown(self) -> Prompts:
        """Prompts that are drawn one by one: about different subjects where there are several."""
        numbers: list[int] = []
        subjects: set[str] = set()
        for number, fact in enumerate(self.prompts.facts):
            subject = str(fact.extra.get("subject", number))
            if subject not in subjects and len(numbers) < self.settings.n_shown:
                numbers.append(number)
                subjects.add(subject)
        return self.prompts[numbers]

    @property
    def unanswered(self) -> bool:
        """True if some facts come without answers: the base model's own then replace all."""
        facts = [fact for each in self.sets.values() for fact in each if fact.kind != "text"]
        return any(getattr(fact, PARTNER[fact.kind] or "text") is None for fact in facts)

    @property
    def running(self) -> dict[str, Any]:
        """Options of every computation."""
        return {"batch_size": self.settings.batch_size, "seed": self.settings.seed, "progress": self.progress}

    def shared(self, out: Path) -> dict[str, Any]:
        """Return the options of a computation that processes share and that writes ``out`` itself.

        A file that is there may be finished once more, from its journals.
        """
        return self.running | {"out": out, "task": self.task, "overwrite": True}


def evenly(count: int, n: int) -> list[int]:
    """Return at most ``n`` of the numbers 0 to ``count`` - 1, spread evenly."""
    if count <= n:
        return list(range(count))
    return [round(k * (count - 1) / (n - 1)) if n > 1 else 0 for k in range(n)]
