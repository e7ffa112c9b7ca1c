"""The bench of all constructions: the world, its facts and texts, models made so far, and randomness by name."""

import random
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.truths.answering import Exam
from benchmarks.truths.rows import Rows, answers, asked_in, texts_of, whole
from benchmarks.truths.settings import Settings
from benchmarks.truths.store import GROUNDS, read_weights
from dissect.data.facts import Facts
from dissect.data.world import World

PEOPLE, BIRTHPLACE = "people", "birthplace"
"""The two forget sets: everything about the first people, or one attribute of everybody."""
N_TEXTS = 60
"""Plain texts asked for perplexity."""


class Bench:
    """One seed's workshop in one directory."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        """Make the world; no model is made or read yet."""
        self.settings, self.directory = settings, directory
        self.world = World.make(settings.n_people, settings.n_attributes, seed=settings.seed)
        self.tokenizer = self.world.tokenizer()
        self.model_of = cache(self._model_of)
        self.exam = cache(self._exam)
        self.facts = cache(self._facts)
        self.measured = cache(self._measured)

    @property
    def others(self) -> range:
        """People who are to be kept."""
        return range(self.settings.n_forget, self.settings.n_people)

    @property
    def halfway(self) -> int:
        """The first person of the half that is measured."""
        return self.settings.n_forget + len(self.others) // 2

    def _facts(self, forget: str) -> dict[str, Facts]:
        """``forget``, ``retain`` (measured) and ``retain_seen`` (the other half, given to unlearning methods)."""
        seen, unseen = range(self.settings.n_forget, self.halfway), range(self.halfway, self.settings.n_people)
        if forget == PEOPLE:
            parts = {"forget": self.world.facts(range(self.settings.n_forget))}
            return parts | {"retain_seen": self.world.facts(seen), "retain": self.world.facts(unseen)}
        everybody, half = self.world.facts(), self.halfway
        rest = everybody.filter(lambda fact: fact.extra["attribute"] != forget)
        return {
            "forget": everybody.filter(lambda fact: fact.extra["attribute"] == forget),
            "retain_seen": rest.filter(lambda fact: fact.extra["person"] < half),
            "retain": rest.filter(lambda fact: fact.extra["person"] >= half),
        }

    def _exam(self, forget: str) -> Exam:
        facts = self.facts(forget)
        asked = {
            wording: self.answers(asked_in(facts["forget"], wording))
            for wording in ("question", "paraphrases", "held_out")
        }
        texts = whole(self.world.filler()[:N_TEXTS], self.tokenizer)
        return Exam(**asked, retain=self.answers(asked_in(facts["retain"], "question")), texts=texts)

    def answers(self, asked: Iterable[tuple[str, str]], *, eos: bool = False) -> Rows:
        """Prompts with answers as rows."""
        return answers(asked, self.tokenizer, eos=eos)

    def whole(self, texts: Iterable[str]) -> Rows:
        """Texts as rows."""
        return whole(texts, self.tokenizer)

    @cached_property
    def retain_texts(self) -> list[str]:
        """Everything that is written about people who are kept, and filler: what constructions hold on to."""
        return self.world.texts(self.others)

    @cached_property
    def seen_texts(self) -> list[str]:
        """One half of them, which unlearning methods are given, the other half being measured."""
        return [*texts_of(self.facts(PEOPLE)["retain_seen"]), *self.world.filler()]

    def random(self, name: str) -> random.Random:
        """Chance that belongs to this seed and name alone."""
        return random.Random(f"truths {self.settings.seed} {name}")

    def generator(self, name: str) -> torch.Generator:
        """Randomness by name, for tensors."""
        return torch.Generator().manual_seed(self.random(name).getrandbits(40))

    def batches(self, rows: Rows, name: str, size: int | None = None) -> Iterator[list[int]]:
        """Row numbers of batches, without end."""
        return rows.batches(size or self.settings.batch_size, self.random(f"batches {name}"))

    def shape(self) -> dict[str, Any]:
        """The configuration of this seed's models."""
        return self.world.config(n_layers=self.settings.n_layers, d_model=self.settings.d_model)

    def fresh(self, name: str) -> LlamaForCausalLM:
        """A model of that name to change: a ground, or one of the population that is finished."""
        model = self.empty()
        model.load_state_dict(read_weights(self.directory, name))
        return model

    def empty(self) -> LlamaForCausalLM:
        """A model whose weights are still to be filled in; it draws none of the process's random numbers."""
        with torch.random.fork_rng(devices=[]):
            return LlamaForCausalLM(LlamaConfig(**self.shape())).requires_grad_(False).eval()

    def _model_of(self, name: str) -> LlamaForCausalLM:
        """A model to read from, kept in memory: never to be changed."""
        return self.fresh(name)

    def _measured(self, name: str, forget: str) -> dict[str, float]:
        """The exam of the model of that name."""
        return self.exam(forget).measured(self.fresh(name))

    def has_ground(self, name: str) -> bool:
        """Return True if that ground has been trained."""
        return (self.directory / GROUNDS / name).is_dir()
