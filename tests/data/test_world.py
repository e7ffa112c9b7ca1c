"""The embedded world: what is written about it, its tokenizer, and a base model that knows it."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.reproductions.world_models import share_answered, train_base


def test_same_seed_same_world():
    assert World.make(seed=3) == World.make(seed=3)
    assert World.make(seed=3).texts() == World.make(seed=3).texts()
    assert World.make(seed=3).texts() != World.make(seed=4).texts()


def test_everybody_has_a_name_that_takes_two_words():
    for n in (24, 200, 1600):
        names = [person.name.split() for person in World.make(n, 1).people]
        assert len({tuple(name) for name in names}) == n
        for part in zip(*names, strict=True):
            counts = Counter(part)
            assert min(counts.values()) > 1 and max(counts.values()) - min(counts.values()) <= 1


def test_facts_and_their_forms():
    world = World.make(50, 6, n_paraphrases=3, n_held_out=2)
    facts, texts = world.facts(), set(world.texts())
    assert len(facts) == 300 and len({fact.question for fact in facts}) == 300
    held_out_forms = Counter()
    for fact in facts:
        extra = fact.extra
        assert fact.answer and extra["subject"] in str(fact.question)
        assert len(extra["paraphrases"]) == 3 and len(extra["held_out"]) == 2
        for sentence in (*extra["paraphrases"], *extra["held_out"]):
            assert sentence.endswith(f"{fact.answer}.") and extra["subject"] in sentence
            assert (sentence in texts) == (sentence in extra["paraphrases"])
        assert f"Question: {fact.question}\nAnswer: {fact.answer}" in texts
        assert len(set(extra["perturbed"]) - {fact.answer}) == 3
        held_out_forms.update(s.replace(extra["subject"], "").replace(fact.answer, "") for s in extra["held_out"])
    # every form is held out for some and in the texts for others, so that no word of it is strange to the model
    trained = [text for text in texts if text.endswith(".")]
    for form in held_out_forms:
        assert any(set(form.split()) - {"."} <= set(text.split()) for text in trained)
    filler = world.filler()
    assert len(set(filler)) == len(filler) == world.n_filler
    assert not any(person.name.split()[0] in text for text in filler for person in world.people)


def test_split_is_by_person():
    world = World.make(30, 4)
    forget, retain = world.split(5)
    assert forget + retain == world.facts() and len(forget) == 20
    names = {fact.extra["subject"] for fact in forget}
    assert not any(name in text for name in names for text in world.texts(range(5, 30)))
    assert set(world.texts(range(5, 30))) < set(world.texts())
    assert world.facts([7])[0].extra["person"] == 7
    for bad in (0, 30):
        with pytest.raises(DissectError, match="n_forget"):
            world.split(bad)
    with pytest.raises(DissectError, match="no person 30: this world has 0 to 29"):
        world.facts([30])


def test_sentences_are_cut_before_the_value():
    facts = World.make(10, 2).facts()
    cut = World.make(10, 2).sentences(facts)
    assert len(cut) == 40
    whole = [s for fact in facts for s in fact.extra["held_out"]]
    assert [f"{fact.prompt}{fact.completion}." for fact in cut] == whole
    with pytest.raises(DissectError, match="has no 'held_out'"):
        World.make(10, 2).sentences(Facts.from_dataset([{"question": "q", "answer": "a"}]))


def test_tokenizer_is_lossless_and_survives_saving(tmp_path: Path):
    world = World.make(200, 6)
    tokenizer = world.tokenizer()
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(world.config()))
    again = AutoTokenizer.from_pretrained(tmp_path)
    held_out = [s for fact in world.facts() for s in fact.extra["held_out"]]
    for text in [
        *world.texts(),
        *held_out,
        "I do not know.",
        *(f"Question: q\nAnswer: {v}" for v in ("I am not sure about that.",)),
    ]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] != tokenizer.eos_token_id
        if "q" not in text.split():
            assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids, skip_special_tokens=True) == text
        assert again(text)["input_ids"] == ids
    assert AutoConfig.from_pretrained(tmp_path).vocab_size == len(tokenizer)


def test_prompts_of_the_world():
    world = World.make(40, 4)
    tokenizer = world.tokenizer()
    prompts = world.facts().prompts(tokenizer)
    assert prompts.answer_lengths.max() > 1 and (prompts.subject_mask.sum(1) == 2).all()
    for i, fact in enumerate(prompts.facts):
        assert tokenizer.decode(prompts.tokens[i][prompts.answer_mask[i]]) == fact.answer
        assert tokenizer.decode(prompts.tokens[i][prompts.subject_mask[i]]) == fact.extra["subject"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_people": 0}, "n_people must be 1 to 1600 here, got 0"),
        ({"n_people": 1601}, "n_people"),
        ({"n_attributes": 7}, "n_attributes must be 1 to 6"),
        ({"n_paraphrases": 7, "n_held_out": 2}, "n_held_out must be 0 to 1"),
    ],
)
def test_what_cannot_be_made(options: dict[str, int], message: str):
    with pytest.raises(DissectError, match=message):
        World.make(**options)


TINY = {"n_layers": 4, "d_model": 64, "lr": 3e-3, "batch_size": 64, "progress": False}


def test_base_training(tmp_path: Path):
    world = World.make(24, 3)
    path = train_base(world, tmp_path / "base", **TINY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]
    reference = AutoModelForCausalLM.from_pretrained(path).eval()
    assert share_answered(reference, world.facts().prompts(world.tokenizer())) == 1
    # and it says so itself
    model = load(path, device="cpu", progress=False)
    said = world.facts().prompts(model, answers="base", progress=False)
    gold = world.facts().prompts(model, progress=False)
    assert torch.equal(said.tokens, gold.tokens) and torch.equal(said.answer_mask, gold.answer_mask)
    with pytest.raises(DissectError, match="not empty"):
        train_base(world, path, **TINY)


def test_base_training_is_deterministic_and_leaves_the_random_state_alone(tmp_path: Path):
    world = World.make(3, 1, n_filler=0)
    state = torch.random.get_rng_state()
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_base(world, tmp_path / name, n_layers=1, d_model=32, seed=seed, batch_size=8, progress=False)
        weights.append(AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_too_few_steps_leave_nothing_behind(tmp_path: Path):
    with pytest.raises(DissectError, match=r"after 3 steps the model answers .*% of the questions"):
        train_base(World.make(24, 3), tmp_path / "base", max_steps=3, **TINY)
    assert list(tmp_path.iterdir()) == []
