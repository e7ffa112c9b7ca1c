"""The verdict on instruct models: asked in their chat template, short answers read, long texts cut."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

import dissect
from dissect.cli import main
from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_settings import Chat
from dissect.errors import DissectError
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


def chatting(directory: Path, seed: int) -> Path:
    path = make_checkpoint("llama", directory, seed=seed, tokenizer=False)
    chat_tokenizer("chatml").save_pretrained(path)
    return path


JOBS: dict[str, Callable[..., Any]] = {
    "verdict": partial(dissect.verdict, attacks="as_asked"),
    "evaluate": lambda models, *, base, **given: dissect.evaluate(
        models, base=base, measures=["exact_match"], n_examples=0, **given
    ),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_with_another_template_does_not_go_on(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    base, other = (dissect.load(chatting(tmp_path / f"m{seed}", seed), progress=False) for seed in (0, 1))
    run = partial(JOBS[job], {"other": other}, base=base, forget=FACTS, chat=True, progress=False)

    def whole() -> Any:
        result = run(out=tmp_path / "whole.json", overwrite=True)
        assert json.loads((tmp_path / "whole.json").read_text())["spec"]["chat_templates"] == {
            name: ChatFormat(model.tokenizer, Chat()).fingerprint for name, model in (("base", base), ("other", other))
        }
        return result

    whole()
    with monkeypatch.context() as patched:
        patched.setattr("dissect.verdicts.result.Verdicts.save", cut_short)
        patched.setattr("dissect.evaluation.evaluation_result.Evaluation.save", cut_short)
        with pytest.raises(KeyboardInterrupt):
            run(out=tmp_path / "out.json")
    own = other.tokenizer.chat_template
    other.tokenizer.chat_template = own.replace("assistant", "helper")
    with pytest.raises(DissectError, match="another"):
        run(out=tmp_path / "out.json")
    whole()
    assert "the chat templates of base and other differ" in caplog.text
    other.tokenizer.chat_template = None
    with pytest.raises(DissectError, match="other: the tokenizer has no chat template"):
        run(out=tmp_path / "new.json")
    other.tokenizer.chat_template = own
    run(out=tmp_path / "out.json")
    assert (tmp_path / "out.json").is_file()


def cut_short(*_: object) -> None:
    raise KeyboardInterrupt


def test_adapters_have_the_base_that_is_given_or_that_of_the_verdict(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    base = make_checkpoint("llama", tmp_path / "base")
    adapter = tmp_path / "adapter"
    native = transformers.AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        peft.get_peft_model(
            native, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        ).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "no")}))
    judged = partial(dissect.verdict, [str(adapter)], forget=FACTS, attacks="as_asked", progress=False)
    (alone,) = judged(base=str(base))
    assert "the base of the comparison, takes its place" in caplog.text
    (told,) = judged(base=str(base), adapter_base=str(base))
    assert alone.attacks[0].z == told.attacks[0].z
    facts = FACTS.write(tmp_path / "facts.jsonl")
    asked = ["verdict", str(base), str(adapter), "--forget", str(facts), "--attacks", "as_asked", "-q", "--no-chat"]
    assert main([*asked, "--adapter-base", str(base)]) == 0


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
