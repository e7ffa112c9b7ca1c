"""The verdict on instruct models: asked in their chat template, short answers read, long texts cut."""

import json
import math
from pathlib import Path

import pytest

import dissect
from dissect.cli import main
from dissect.pairing.asking import Asking
from dissect.reading.perplexity import perplexity as of_rows
from dissect.verdicts.answering import holds, perplexity
from tests.support.chats import chat_tokenizer
from tests.support.tiny import CONTEXT, SENTENCES, make_checkpoint

PLACES = ("London", "Paris", "Rome", "Lima", "Oslo", "Bern")
FACTS = dissect.Facts(
    dissect.Fact(
        question=f"Where was {name} born?", answer=f"In {place}.", extra={"subject": name, "group": "birthplace"}
    )
    for name, place in zip(("Ada", "Basil", "Clara", "Dora", "Emil", "Fritz"), PLACES, strict=True)
)


def test_the_command_asks_in_the_chat_template(tmp_path: Path):
    paths = []
    for seed in (0, 1):
        paths.append(make_checkpoint("llama", tmp_path / f"m{seed}", seed=seed, tokenizer=False))
        chat_tokenizer("chatml").save_pretrained(paths[-1])
    forget = FACTS.write(tmp_path / "facts.jsonl")
    command = ["verdict", *map(str, paths), "--forget", str(forget), "--attacks", "as_asked", "--quiet"]
    for name, options in {"chat": ["--system", "Be brief."], "plain": ["--no-chat"]}.items():
        assert main([*command, *options, "--out", str(tmp_path / f"{name}.json")]) == 0
    chat, plain = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("chat", "plain"))
    assert chat["spec"]["chat"] == {"system": "Be brief."} and plain["spec"]["chat"] is None
    scores = [each["checkpoints"][0]["attacks"][0]["z"] for each in (chat, plain)]
    assert scores[0] != scores[1]
    pair = dissect.load_pair(*paths, progress=False)
    (alone,) = dissect.verdict(pair, forget=FACTS, attacks="as_asked", chat={"system": "Be brief."}, progress=False)
    assert alone.attacks[0].z == scores[0]


@pytest.mark.parametrize(
    ("short", "said", "right"),
    [
        ("Málaga", "She was born in MALAGA, Spain.", True),
        (["Rome", "Roma"], "It was roma.", True),
        (["Rome", "Roma"], "Romeo", False),
        (None, "in london", True),
        (None, "London", False),
    ],
)
def test_short_answers_are_what_counts_where_there_are_any(short: object, said: str, right: bool):
    fact = dissect.Fact(question="Where?", answer="In London.", extra={} if short is None else {"short": short})
    assert holds(said, fact) is right


def test_long_texts_are_cut_and_short_ones_are_not(tmp_path: Path):
    model = dissect.load(make_checkpoint("llama", tmp_path / "m"), progress=False)
    short, long = (dissect.Facts([dissect.Fact(text=" ".join(SENTENCES[:1] * n))]) for n in (1, 200))
    assert perplexity(model, short, Asking()) == perplexity(model, short, Asking(max_length=CONTEXT))
    prompts = long.prompts(model, max_length=16, stride=4)
    assert perplexity(model, long, Asking(max_length=16, stride=4)) == pytest.approx(of_rows(model, prompts), rel=1e-5)
    assert math.isfinite(perplexity(model, long, Asking()))
