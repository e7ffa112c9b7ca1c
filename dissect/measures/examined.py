"""A checkpoint that is measured, with one set of facts, and what several measures need of it, computed once."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from transformer_lens import HookedTransformer

from dissect.data.chat.chat_settings import ChatChoice
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError, Undefined
from dissect.measures.option import Option
from dissect.reading.answers import Answer, say
from dissect.reading.token_scores import TokenScores, token_scores

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings shared by all measures of an evaluation."""

    template: str = DEFAULT_TEMPLATE
    chat: ChatChoice = None
    """The chat format in which everything is asked; see `dissect.data.chat.chat_settings`."""
    max_new_tokens: int = 40
    """Longest greedy answer, in tokens."""
    batch_size: int = 32
    seed: int = 0
    progress: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of single measures, by ``measure.option``; see `Examined.option`."""


class Examined:
    """One checkpoint asked about one set of facts.

    What is computed here is kept and shared: by the measures, and by the checkpoints that this one stands beside as
    their base or retrained model. `on` gives the same checkpoint with another set.
    """

    def __init__(
        self,
        model: HookedTransformer,
        sets: Mapping[str, Facts],
        *,
        name: str,
        settings: Settings | None = None,
        base: "Examined | None" = None,
        retrained: "Examined | None" = None,
        set: str = "forget",
    ) -> None:
        """Hold a checkpoint.

        Args:
            base: the checkpoint before unlearning.
            retrained: a checkpoint trained without the forget facts.
        """
        self.model, self.sets, self.name, self.set = model, dict(sets), name, set
        self.settings = settings or Settings()
        self._base, self._retrained = base, retrained
        self._by_set: dict[str, Examined] = {set: self}
        self._computed: dict[Hashable, Any] = {}

    def attach(self, *, base: "Examined | None", retrained: "Examined | None") -> None:
        """Set base and retrained model where they were not known at first: a base model is its own base."""
        for examined in self._by_set.values():
            examined._base = None if base is None else base.on(examined.set)
            examined._retrained = None if retrained is None else retrained.on(examined.set)

    def on(self, set: str) -> "Examined":
        """Return the same checkpoint asked about another set of facts.

        Raises:
            Undefined: no such set was given.
        """
        if set not in self.sets:
            raise Undefined(f"it needs the facts {set!r}, and none were given: pass {set}=...")
        if set not in self._by_set:
            other = Examined(self.model, self.sets, name=self.name, settings=self.settings, set=set)
            other._by_set, other._computed = self._by_set, self._computed
            self._by_set[set] = other
            # only now: a base model is its own base
            other._base, other._retrained = (model and model.on(set) for model in (self._base, self._retrained))
        return self._by_set[set]

    @property
    def facts(self) -> Facts:
        """The set's facts."""
        return self.sets[self.set]

    @property
    def base(self) -> "Examined":
        """The checkpoint before unlearning, with the same facts; itself, if it is that.

        Raises:
            Undefined: none was given.
        """
        if self._base is None:
            raise Undefined("it compares with the base model, and none was given: pass base=...")
        return self._base

    @property
    def retrained(self) -> "Examined":
        """A checkpoint trained without the forget facts, with the same facts; itself, if it is that.

        Raises:
            Undefined: none was given.
        """
        if self._retrained is None:
            raise Undefined(
                "it compares with a model trained without the forget facts, and none was given: pass retrained=..."
            )
        return self._retrained

    @cached_property
    def prompts(self) -> Prompts:
        """The facts with their own answers, tokenised.

        Raises:
            Undefined: they cannot be: a fact without an answer, one that is longer than the context.
        """
        return self.prompted(self.facts)

    def prompted(self, facts: Facts, **changes: Any) -> Prompts:
        """Return other facts, asked in the same way.

        Raises:
            Undefined: as `prompts`.
        """
        asking: dict[str, Any] = {
            "template": self.settings.template,
            "chat": self.settings.chat,
            "batch_size": self.settings.batch_size,
        }
        try:
            return facts.prompts(self.model, **(asking | changes), progress=False)
        except DissectError as error:
            raise Undefined(str(error)) from error

    @cached_property
    def scores(self) -> TokenScores:
        """Log-probabilities and ranks of the tokens of the expected answers."""
        return self.scored(self.prompts)

    def scored(self, prompts: Prompts) -> TokenScores:
        """Return what `scores` holds, of other prompts."""
        return token_scores(self.model, prompts, batch_size=self.settings.batch_size)

    @cached_property
    def answers(self) -> list[Answer]:
        """Greedy answers beside the expected ones.

        Each has at most ``max_new_tokens``, or more where an expected answer of the set is longer: none is cut short.

        Raises:
            Undefined: plain texts, which ask nothing.
        """
        if any(fact.kind == "text" for fact in self.facts):
            raise Undefined(
                "plain texts ask nothing that could be answered: give questions, or prompts with completions"
            )
        return say(
            self.model,
            self.prompts,
            max_new_tokens=max(self.settings.max_new_tokens, int(self.prompts.answer_lengths.max())),
            batch_size=self.settings.batch_size,
            progress=self.settings.progress,
        )

    def option(self, option: Option[T]) -> T:
        """Return what a measure was told, or the option's default.

        Raises:
            DissectError: a value that the option does not accept.
        """
        return option.of(self.settings.options)

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, computed once for this checkpoint.

        It is kept for all sets of facts together: where it depends on the set, the key names it.
        """
        if key not in self._computed:
            self._computed[key] = make()
        return self._computed[key]

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.embed.W_E.device
