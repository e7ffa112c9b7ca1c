"""A small fictitious world, made from a seed: people with attributes, and everything that is written about them.

It stands in for a pretrained model's knowledge where no checkpoint can be fetched: a model trained on `World.texts`
answers `World.facts`. Each fact is stated in several forms, of which a few, chosen anew for every fact, are held out of
the texts: whoever knows the fact can complete them, whoever only learnt sentences by heart cannot.
"""

import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.render import DEFAULT_TEMPLATE, render
from dissect.data.variants import restated
from dissect.data.world_text import ATTRIBUTES, FILLER, FILLER_WORDS, FIRST_NAMES, LAST_NAMES, REFUSALS, Attribute
from dissect.errors import DissectError

if TYPE_CHECKING:  # the world itself needs neither torch nor transformers
    from transformers import PreTrainedTokenizerFast

N_WRONG = 3


@dataclass(frozen=True)
class Person:
    """One inhabitant: a name of two words, both shared with others, and one value for each attribute."""

    name: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """People, their attributes, and the split of the sentence forms; made by `make`, equal for equal arguments."""

    people: tuple[Person, ...]
    attributes: tuple[Attribute, ...]
    n_held_out: int
    n_filler: int
    seed: int

    @classmethod
    def make(
        cls,
        n_people: int = 200,
        n_attributes: int = 4,
        *,
        n_paraphrases: int = 4,
        n_held_out: int = 2,
        n_filler: int | None = None,
        seed: int = 0,
    ) -> "World":
        """Make a world.

        Args:
            n_people: how many people; first and last names are shared, so that it takes both to know who is meant.
            n_attributes: of birthplace, profession, employer, pastime, language and instrument, the first so many.
            n_paraphrases: sentence forms of each fact in the texts.
            n_held_out: further forms of each fact that are kept out of them.
            n_filler: sentences in the texts that state no fact; None makes one for every two facts.
            seed: decides names, values, filler and which forms are held out.

        Raises:
            DissectError: a number outside of what the word lists allow.
        """
        most_forms = min(len(attribute.statements) for attribute in ATTRIBUTES)
        most_people = min(len(FIRST_NAMES), len(LAST_NAMES)) ** 2
        _check("n_people", n_people, 1, most_people)
        _check("n_attributes", n_attributes, 1, len(ATTRIBUTES))
        _check("n_paraphrases", n_paraphrases, 1, most_forms)
        _check("n_held_out", n_held_out, 0, most_forms - n_paraphrases)
        n_filler = n_people * n_attributes // 2 if n_filler is None else n_filler
        _check("n_filler", n_filler, 0, len(_every_filler()))
        rng = random.Random(seed)
        names = _names(n_people, rng)
        n_forms = n_paraphrases + n_held_out
        attributes = tuple(
            Attribute(a.name, a.question, a.statements[:n_forms], a.values) for a in ATTRIBUTES[:n_attributes]
        )
        people = tuple(Person(name, {a.name: rng.choice(a.values) for a in attributes}) for name in names)
        return cls(people, attributes, n_held_out, n_filler, seed)

    def facts(self, people: Iterable[int] | None = None) -> Facts:
        """Question and answer of every attribute of ``people`` (indexes; None takes all), person by person.

        ``extra`` holds ``subject`` and ``person`` (the name and its index), ``attribute``, ``paraphrases`` (the
        sentences in the texts), ``held_out`` (those kept out) and ``perturbed`` (wrong answers of the same kind).

        Raises:
            DissectError: no such person.
        """
        return Facts(self._fact(index, a) for index in self._indexes(people) for a in self.attributes)

    def split(self, n_forget: int = 20) -> tuple[Facts, Facts]:
        """Facts of the first ``n_forget`` people, to be forgotten, and of all the others, to be retained.

        Raises:
            DissectError: nobody on one side.
        """
        _check("n_forget", n_forget, 1, len(self.people) - 1)
        return self.facts(range(n_forget)), self.facts(range(n_forget, len(self.people)))

    def sentences(self, facts: Iterable[Fact], *, forms: Literal["paraphrases", "held_out"] = "held_out") -> Facts:
        """The sentences of facts cut before the value: prompts such as "Ada Bracken comes from" with completion.

        Args:
            facts: facts of this world.
            forms: those that stand in the texts, or those that were held out.

        Raises:
            DissectError: facts that are not of a world.
        """
        stated = list(facts)
        for fact in stated:
            if forms not in fact.extra or fact.answer is None:
                raise DissectError(f"{fact.question!r} has no {forms!r} in its extra: take facts of World.facts")
        return restated(stated, forms)

    def texts(self, people: Iterable[int] | None = None) -> list[str]:
        """Training texts for a model of this world: sentences, questions with answers, and filler.

        Leave people out to train a model that never heard of them. An EOS is to be put after each text.
        """
        facts = self.facts(people)
        texts = [sentence for fact in facts for sentence in fact.extra["paraphrases"]]
        rendered = (render(fact, DEFAULT_TEMPLATE) for fact in facts)
        return [*texts, *(r.prompt + str(r.target) for r in rendered), *self.filler()]

    def filler(self) -> list[str]:
        """The sentences that state no fact, none of them twice."""
        rng = random.Random(f"filler {self.seed}")
        return rng.sample(_every_filler(), self.n_filler)

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """A word-level tokenizer with all words of this world; the same for every model of it."""
        from dissect.data.world_tokenizer import word_tokenizer

        names = [person.name for person in self.people]
        forms = [text for a in self.attributes for text in (a.question, *a.statements)]
        frame = DEFAULT_TEMPLATE.format(question="")
        values = [f"{frame} {value}." for a in self.attributes for value in a.values]
        fill = [FILLER.format_map({key: value for key in FILLER_WORDS}) for v in FILLER_WORDS.values() for value in v]
        plain = [form.replace("{name}", names[0]).replace("{value}", values[0]) for form in forms]
        return word_tokenizer([*names, *plain, *values, *fill, *REFUSALS])

    def config(
        self,
        *,
        n_layers: int = 6,
        d_model: int = 128,
        n_heads: int | None = None,
        d_mlp: int | None = None,
        n_ctx: int = 64,
    ) -> dict[str, Any]:
        """The ``config.json`` of a Llama-architecture model of this world.

        Heads are 32 wide (16 below a width of 128) and the MLP 3 times the width unless said otherwise.

        Raises:
            DissectError: a width that the heads do not divide.
        """
        heads = n_heads if n_heads is not None else max(1, d_model // (32 if d_model >= 128 else 16))
        if heads < 1 or d_model % heads or d_model // heads % 2:
            raise DissectError(f"{heads} heads do not fit a width of {d_model}: each needs the same even share of it")
        tokenizer = self.tokenizer()
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": d_model,
            "intermediate_size": d_mlp if d_mlp is not None else 3 * d_model,
            "num_hidden_layers": n_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": d_model // heads,
            "hidden_act": "silu",
            "max_position_embeddings": n_ctx,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "dtype": "float32",
        }

    def _fact(self, index: int, attribute: Attribute) -> Fact:
        person = self.people[index]
        value = person.values[attribute.name]
        rng = random.Random(
            f"forms {self.seed} {index} {attribute.name}"
        )  # of the fact alone, whoever else is asked for
        forms = [form.format(name=person.name, value=value) for form in attribute.statements]
        held_out = set(rng.sample(range(len(forms)), self.n_held_out))
        return Fact(
            question=attribute.question.format(name=person.name),
            answer=value,
            extra={
                "subject": person.name,
                "person": index,
                "attribute": attribute.name,
                "paraphrases": [form for i, form in enumerate(forms) if i not in held_out],
                "held_out": [form for i, form in enumerate(forms) if i in held_out],
                "perturbed": rng.sample([other for other in attribute.values if other != value], N_WRONG),
            },
        )

    def _indexes(self, people: Iterable[int] | None) -> list[int]:
        indexes = list(range(len(self.people)) if people is None else people)
        for index in indexes:
            if not 0 <= index < len(self.people):
                raise DissectError(f"there is no person {index}: this world has 0 to {len(self.people) - 1}")
        return indexes


def _names(n: int, rng: random.Random) -> list[str]:
    """Distinct pairs of names in which every first and every last name occurs about equally often.

    The pairs run along shifted diagonals of a square of names, so that no name of the square is left to one person
    (from 8 people on).
    """
    side = min(len(FIRST_NAMES), len(LAST_NAMES))
    while side > 2 and (side - 1) ** 2 >= 2 * n:  # about half of the square is used
        side -= 1
    first, last = rng.sample(FIRST_NAMES, side), rng.sample(LAST_NAMES, side)
    shifts = rng.sample(range(side), side)
    pairs = [(first[i], last[(i + shift) % side]) for shift in shifts for i in range(side)]
    names = [f"{a} {b}" for a, b in pairs[:n]]
    rng.shuffle(names)  # neighbours on the list, and so those who are forgotten together, share nothing
    return names


def _every_filler() -> list[str]:
    every = itertools.product(*FILLER_WORDS.values())
    return [FILLER.format_map(dict(zip(FILLER_WORDS, words, strict=True))) for words in every]


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DissectError(f"{name} must be {low} to {high} here, got {value}")
