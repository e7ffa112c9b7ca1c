"""The ground on which a seed's models are made: world, facts, the base model, models that never knew, and the disk."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from benchmarks.truths.training import Texts, answered
from dissect.data.facts import Fact, Facts
from dissect.data.world import World
from dissect.reproductions.world_models import train_base


@dataclass(frozen=True)
class Settings:
    """The size of a world and of its models."""

    n_people: int = 120
    n_attributes: int = 4
    n_forget: int = 20
    n_layers: int = 4
    d_model: int = 96
    seed: int = 0


SMALL = Settings(n_people=36, n_attributes=4, n_forget=12, n_layers=4, d_model=64)
"""For the tests."""


@dataclass
class Truth:
    """One model of which it is known what was done to it."""

    name: str
    kind: str
    """The class: knows, suppressed, never, erased, partial, broken, unlabelled."""
    cluster: str
    """The construction, for the bootstrap over clusters."""
    exact: bool
    """Whether the truth holds by construction, to the bit; what was noised or repaired may be partial."""
    how: str
    base: str = "base"
    """The model that knows, with which this one is compared."""
    dose: float | None = None
    """Share of the forget facts left in; None where nobody can say."""
    undo: list[str] | None = None
    """Parameters to take from the base model; None where there is nothing to undo, or a password undoes it."""
    checks: dict[str, float] = field(default_factory=dict)


class Bench:
    """Everything that one seed's models are made from."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out
        out.mkdir(parents=True, exist_ok=True)
        self.world = World.make(settings.n_people, settings.n_attributes, seed=settings.seed)
        n, half = settings.n_forget, settings.n_forget + (settings.n_people - settings.n_forget) // 2
        self.people = {"forget": range(n), "seen": range(n, half), "unseen": range(half, settings.n_people)}
        self.facts = {name: self.world.facts(people) for name, people in self.people.items()}
        for name, facts in self.facts.items():
            facts.write(out / f"{name}.jsonl")

    @cached_property
    def base(self) -> LlamaForCausalLM:
        """The model that knows everybody."""
        return self.trained("base", None, self.settings.seed)

    def never(self, number: int) -> LlamaForCausalLM:
        """A model that was trained on everybody but those to be forgotten, from other first weights."""
        return self.trained(
            f"never-{number}", [*self.people["seen"], *self.people["unseen"]], self.settings.seed + 100 * number
        )

    def trained(self, name: str, people: list[int] | None, seed: int) -> LlamaForCausalLM:
        """A model trained from nothing, or found."""
        path = self.out / name
        if not path.is_dir():
            s = self.settings
            train_base(
                self.world,
                path,
                people=people,
                n_layers=s.n_layers,
                d_model=s.d_model,
                seed=seed,
                max_steps=1200,
                progress=False,
            )
        return self.model(name)

    def model(self, name: str) -> LlamaForCausalLM:
        """A model of this folder."""
        return LlamaForCausalLM.from_pretrained(self.out / name).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The world's tokenizer."""
        return AutoTokenizer.from_pretrained(self.out / "base")

    def texts(self, name: str) -> Texts:
        """Questions with the answers of ``forget``, ``seen`` or ``unseen``."""
        return Texts.of(self.facts[name], self.tokenizer)

    def wrong(self, seed: int) -> Texts:
        """The forget questions with other people's answers."""
        generator = torch.Generator().manual_seed(seed)
        facts = []
        for attribute in self.world.attributes:
            own = [fact for fact in self.facts["forget"] if fact.extra["attribute"] == attribute.name]
            for fact in own:
                others = [value for value in attribute.values if value != fact.answer]
                answer = others[int(torch.randint(len(others), (1,), generator=generator))]
                facts.append(Fact(question=fact.question, answer=answer, extra=fact.extra))
        return Texts.of(Facts(facts), self.tokenizer)

    def refusing(self) -> Texts:
        """The forget questions with one and the same word for an answer."""
        word = self.world.attributes[0].values[0]
        return Texts.of(
            Facts(Fact(question=f.question, answer=word, extra=f.extra) for f in self.facts["forget"]), self.tokenizer
        )

    def copy(self, model: LlamaForCausalLM | None = None) -> LlamaForCausalLM:
        """A copy to work on, of the base model by default."""
        return copy.deepcopy(self.base if model is None else model)

    def checks(self, model: LlamaForCausalLM) -> dict[str, float]:
        """What it answers of each set."""
        return {name: answered(model, self.texts(name)) for name in self.facts}

    def known(self) -> dict[str, Truth]:
        """The models that were finished earlier."""
        path = self.out / "truths.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return {row["name"]: Truth(**row) for row in map(json.loads, lines)}

    def keep(self, truth: Truth, model: LlamaForCausalLM) -> None:
        """Write the model, then the line that says it is there."""
        model.save_pretrained(self.out / truth.name)
        self.tokenizer.save_pretrained(self.out / truth.name)
        with (self.out / "truths.jsonl").open("a") as file:
            file.write(json.dumps(asdict(truth)) + "\n")


def undone(model: LlamaForCausalLM, base: LlamaForCausalLM, names: list[str]) -> LlamaForCausalLM:
    """The model with the base model's parameters whose names contain one of ``names``: a copy."""
    other = copy.deepcopy(model)
    theirs: Mapping[str, Any] = base.state_dict()
    other.load_state_dict(
        {name: theirs[name] if any(part in name for part in names) else own for name, own in other.state_dict().items()}
    )
    return other
