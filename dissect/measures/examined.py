"""Who is measured: one checkpoint with one set of facts, and what several measures need of it, computed once."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError, Undefined
from dissect.reading.answers import Answer, say
from dissect.reading.token_scores import TokenScores, token_scores

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How everything is asked and computed."""

    template: str = DEFAULT_TEMPLATE
    max_new_tokens: int = 40
    """Of a greedy answer."""
    batch_size: int = 32
    seed: int = 0
    progress: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """What single measures are told, by ``measure.option``; see `Subject.option`."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What measures need from rooms above this one; handed in by ``dissect.evaluation``."""

    patch: Callable[..., Any]
    """``dissect.patching.patch.patch``."""
    relearn: Callable[..., Any]
    """``dissect.attacks.relearn.relearn.relearn``."""


class Subject:
    """One checkpoint asked about one set of facts.

    What is computed here is kept and shared: by the measures, and by the same checkpoint in the role of somebody
    else's base model. `on` gives the same checkpoint with another set.
    """

    def __init__(
        self,
        model: HookedTransformer,
        sets: Mapping[str, Facts],
        *,
        name: str,
        settings: Settings | None = None,
        base: "Subject | None" = None,
        retain: "Subject | None" = None,
        tools: Tools | None = None,
        set: str = "forget",
    ) -> None:
        """Hold a checkpoint; ``base`` is the one before unlearning, ``retain`` one that never saw the forget facts."""
        self.model, self.sets, self.name, self.set = model, dict(sets), name, set
        self.settings = settings or Settings()
        self._base, self._retain, self._tools = base, retain, tools
        self._others: dict[str, Subject] = {set: self}
        self._kept: dict[Hashable, Any] = {}

    def play(self, *, base: "Subject | None", retain: "Subject | None") -> None:
        """Say who the others are, where that was not known when this one was made: a base model is its own base."""
        for subject in self._others.values():
            subject._base = None if base is None else base.on(subject.set)
            subject._retain = None if retain is None else retain.on(subject.set)

    def on(self, set: str) -> "Subject":
        """The same checkpoint asked about another set of facts.

        Raises:
            Undefined: no such set was given.
        """
        if set not in self.sets:
            raise Undefined(f"it needs the facts {set!r}, and none were given: pass {set}=...")
        if set not in self._others:
            other = Subject(self.model, self.sets, name=self.name, settings=self.settings, tools=self._tools, set=set)
            other._others, other._kept = self._others, self._kept
            self._others[set] = other
            # only now: a base model is its own base
            other._base, other._retain = (role and role.on(set) for role in (self._base, self._retain))
        return self._others[set]

    @property
    def facts(self) -> Facts:
        """The set's facts."""
        return self.sets[self.set]

    @property
    def base(self) -> "Subject":
        """The checkpoint before unlearning, with the same facts; itself, if it is that.

        Raises:
            Undefined: none was given.
        """
        if self._base is None:
            raise Undefined("it compares with the base model, and none was given: pass base=...")
        return self._base

    @property
    def retain(self) -> "Subject":
        """A checkpoint that never saw the forget facts.

        Raises:
            Undefined: none was given.
        """
        if self._retain is None:
            raise Undefined(
                "it compares with a model trained without the forget facts, and none was given: pass retain_model=..."
            )
        return self._retain

    @property
    def tools(self) -> Tools:
        """See `Tools`.

        Raises:
            DissectError: a subject that was made without them.
        """
        if self._tools is None:
            raise DissectError("this measure runs through dissect.evaluate, which hands it what it needs")
        return self._tools

    @cached_property
    def prompts(self) -> Prompts:
        """The facts with their own answers, tokenised.

        Raises:
            Undefined: they cannot be: a fact without an answer, one that is longer than the context.
        """
        return self.prompted(self.facts)

    def prompted(self, facts: Facts, **changes: Any) -> Prompts:
        """Other facts, asked in the same way."""
        how: dict[str, Any] = {"template": self.settings.template, "batch_size": self.settings.batch_size}
        try:
            return facts.prompts(self.model, **(how | changes), progress=False)
        except DissectError as error:
            raise Undefined(str(error)) from error

    @cached_property
    def scores(self) -> TokenScores:
        """What the model gives to the tokens of the expected answers."""
        return self.scored(self.prompts)

    def scored(self, prompts: Prompts) -> TokenScores:
        """The same of other prompts."""
        return token_scores(self.model, prompts, batch_size=self.settings.batch_size)

    @cached_property
    def answers(self) -> list[Answer]:
        """What the model says: its greedy answers beside the expected ones.

        At most ``max_new_tokens`` each, and more where an expected answer of the set is longer: none is cut short.

        Raises:
            Undefined: plain texts, which ask nothing.
        """
        if any(fact.kind == "text" for fact in self.facts):
            raise Undefined(
                "plain texts ask nothing that could be answered: give questions, or prompts with completions"
            )
        how = self.settings
        return say(
            self.model,
            self.prompts,
            max_new_tokens=max(how.max_new_tokens, int(self.prompts.answer_lengths.max())),
            batch_size=how.batch_size,
            progress=how.progress,
        )

    def option(self, name: str, default: Any) -> Any:
        """A measure's own setting, by the name ``measure.option``."""
        return self.settings.options.get(name, default)

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, computed once for this checkpoint.

        It is kept for all sets of facts together: where it depends on the set, the key names it.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embed.W_E.device

    def asked(self) -> Sequence[Int[Tensor, "_"]]:
        """The tokens of each prompt before its answer."""
        prompts = self.prompts
        return [row[:n] for row, n in zip(prompts.tokens, prompts.prompt_lengths.tolist(), strict=True)]
