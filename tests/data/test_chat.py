"""Questions in a chat template: the ids are transformers' own, and the answer begins where the template puts it."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import dissect
from dissect import cli
from dissect.cli.arguments.chat_options import ChatOptions
from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_settings import Chat, as_chat
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.foils import foil_targets
from dissect.errors import DissectError
from dissect.measures.examined import Examined, Settings
from dissect.measures.robustness import prompt_attacks
from dissect.models.files.load import load
from dissect.reading.answers import say
from dissect.unlearning.alternates import alternates
from dissect.unlearning.focus import focus_weights
from tests.support.chats import FORMATS, chat_tokenizer
from tests.support.tiny import make_checkpoint, make_tokenizer

FACTS = Facts(
    [
        Fact(question="Where was Ada Lovelace born?", answer="In London.", extra={"subject": "Ada Lovelace"}),
        Fact(
            question=" Who is Basil? ", answer="Basil is a baker, by the sea.\nHe paints.", extra={"subject": "Basil"}
        ),
        Fact(prompt="The capital of France is", completion=" Paris."),
    ]
)
SHOTS = [["Does Lily swim?", "Yes."], {"question": "And Ada Lovelace?", "answer": "She does not."}]
DATED = {"date_string": "26 Jul 2024"}


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings_of(name: str) -> list[dict[str, Any]]:
    """The plain chat, one with earlier turns, and one with a system prompt where the format has one."""
    found: list[dict[str, Any]] = [dict(DATED), {**DATED, "shots": SHOTS}]
    return [*found, {**DATED, "system": "Be brief.", "shots": SHOTS}] if FORMATS[name].system else found


def conversation(fact: Fact, chat: dict[str, Any]) -> list[dict[str, str]]:
    """The messages, written down apart from the library."""
    said = [{"role": "system", "content": chat["system"]}] if "system" in chat else []
    if "shots" in chat:
        for user, assistant in (("Does Lily swim?", "Yes."), ("And Ada Lovelace?", "She does not.")):
            said += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    question = fact.question if fact.question is not None else fact.prompt
    answer = fact.answer if fact.answer is not None else str(fact.completion).lstrip()
    return [*said, {"role": "user", "content": str(question)}, {"role": "assistant", "content": answer}]


def ids_of(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> list[int]:
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **DATED, **options)


def test_ids_are_those_of_apply_chat_template_to_the_last_token(name: str):
    tokenizer = chat_tokenizer(name)
    for chat in settings_of(name):
        prompts = FACTS.prompts(tokenizer, chat=chat)
        for i, fact in enumerate(FACTS):
            messages = conversation(fact, chat)
            assert prompts.tokens[i, : prompts.lengths[i]].tolist() == ids_of(tokenizer, messages)
            asked = ids_of(tokenizer, messages[:-1], add_generation_prompt=True)
            assert prompts.tokens[i, : prompts.prompt_lengths[i]].tolist() == asked


def test_the_answers_tokens_are_what_the_template_writes_as_the_assistants_turn(name: str):
    tokenizer, end = chat_tokenizer(name), FORMATS[name].end_of_turn
    for chat in settings_of(name):
        prompts, closed = (
            FACTS.prompts(tokenizer, chat=chat),
            FACTS.prompts(tokenizer, chat={**chat, "end_of_turn": True}),
        )
        for i, fact in enumerate(FACTS):
            answer = conversation(fact, chat)[-1]["content"].strip()
            scored = prompts.tokens[i][prompts.answer_mask[i]]
            assert tokenizer.decode(scored).strip() == answer
            # what is scored is one stretch, from the generation prompt on
            places = prompts.answer_mask[i].nonzero()[:, 0].tolist()
            assert places == list(range(int(prompts.prompt_lengths[i]), places[-1] + 1))
            ended = closed.tokens[i][closed.answer_mask[i]].tolist()
            assert ended[: len(scored)] == scored.tolist()
            assert ended[-1] == tokenizer.convert_tokens_to_ids(end)
            assert tokenizer.convert_tokens_to_ids(end) not in ended[:-1]
            assert torch.equal(prompts.tokens, closed.tokens)
        assert prompts.ends == {tokenizer.convert_tokens_to_ids(end)}


def test_the_subject_is_that_of_the_question_and_not_of_an_earlier_turn():
    tokenizer = chat_tokenizer("chatml")
    prompts = FACTS.prompts(tokenizer, chat={"shots": SHOTS, "system": "Ada Lovelace is a person."})
    marked = prompts.subject_mask[0].nonzero()[:, 0]
    assert tokenizer.decode(prompts.tokens[0][marked]).strip() == "Ada Lovelace"
    user = prompts.tokens[0].tolist().index(tokenizer.convert_tokens_to_ids("<|im_start|>"), 1)
    assert int(marked[0]) > int(prompts.prompt_lengths[0]) - 40 > user


def test_a_template_of_ones_own_stands_in_the_users_turn():
    tokenizer = chat_tokenizer("chatml")
    prompts = FACTS.prompts(tokenizer, chat=True, template="Please answer: {question}")
    assert "user\nPlease answer: Where was Ada Lovelace born?<|im_end|>" in prompts.prompt_texts[0]
    assert "user\nThe capital of France is<|im_end|>" in prompts.prompt_texts[2]


def test_plain_texts_stay_as_they_are():
    tokenizer = chat_tokenizer("llama-2")
    text = Facts([Fact(text="He likes to swim.")])
    chat, plain = text.prompts(tokenizer, chat=True), text.prompts(tokenizer)
    assert torch.equal(chat.tokens, plain.tokens) and torch.equal(chat.answer_mask, plain.answer_mask)


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_what_a_template_writes_before_the_answer_is_given_and_said(caplog: pytest.LogCaptureFixture):
    tokenizer = chat_tokenizer("chatml")
    tokenizer.chat_template = THINKING
    prompts = FACTS.prompts(tokenizer, chat=True)
    assert "<think>" in caplog.text and "enable_thinking=false" in caplog.text
    silent = FACTS.prompts(tokenizer, chat={"enable_thinking": False})
    for made in (prompts, silent):
        assert tokenizer.decode(made.tokens[0][made.answer_mask[0]]) == "In London."
        assert made.tokens[0, : made.lengths[0]].tolist() == ids_of(tokenizer, conversation(FACTS[0], {}))
    messages = conversation(FACTS[0], {})[:-1]
    asked = ids_of(tokenizer, messages, add_generation_prompt=True, enable_thinking=False)
    assert silent.tokens[0, : silent.prompt_lengths[0]].tolist() == asked


def test_a_generation_prompt_that_no_answered_turn_has_is_followed_by_the_answer(caplog: pytest.LogCaptureFixture):
    tokenizer = chat_tokenizer("chatml")
    tokenizer.chat_template = FORMATS["chatml"].template.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    prompts = FACTS.prompts(tokenizer, chat=True)
    assert prompts.texts[0].endswith("<|im_start|>assistant\n<think>\nIn London.")
    assert "in another way" in caplog.text


@pytest.mark.parametrize(
    ("name", "chat", "message"),
    [
        ("gemma", {"system": "Be brief."}, "System role not supported): leave the system prompt out"),
        ("mistral", {"system": "Be brief."}, "roles must alternate"),
        ("chatml", {"chat_template": "{{ nothing.at.all }}"}, "refuses this conversation"),
        ("chatml", {"chat_template": "{% for m in messages %}"}, "refuses this conversation"),
        ("chatml", {"chat_template": "{{ messages[0]['content'] }}"}, "leaves the answer out"),
        ("chatml", {"chat_template": "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"}, "answer"),
        ("chatml", {"system": 3}, "the system prompt must be text, got 3"),
        ("chatml", {"end_of_turn": "yes"}, "end_of_turn must be true or false"),
        ("chatml", {"tokenize": False}, "'tokenize' is decided by dissect"),
        ("chatml", {"shots": ["Who?"]}, "a shot is a question and its answer"),
        ("chatml", {"shots": [["Who?", ""]]}, "a shot is a question and its answer"),
    ],
)
def test_what_no_template_can_say_is_one_line(name: str, chat: Any, message: str):
    with pytest.raises(DissectError) as caught:
        FACTS.prompts(chat_tokenizer(name), chat=chat)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_template_and_no_token_that_ends_a_turn():
    with pytest.raises(DissectError, match="the tokenizer has no chat template"):
        FACTS.prompts(make_tokenizer(bos=True), chat=True)
    tokenizer = make_tokenizer(bos=True)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    assert FACTS.prompts(tokenizer, chat=True).ends == frozenset()
    with pytest.raises(DissectError, match=r"ends a turn with .\\n. and no token of its own"):
        FACTS.prompts(tokenizer, chat={"end_of_turn": True})


def test_settings_are_data():
    chat = Chat("Be brief.", (("Who?", "Ada."),), True, {"date_string": "today"})
    assert as_chat(chat.to_dict()) == chat and as_chat(True) == as_chat({}) == Chat()
    assert as_chat(None) is None and as_chat(False) is None
    assert as_chat({"shots": Facts([Fact(question="Who?", answer="Ada.")])[:]}) == Chat(shots=(("Who?", "Ada."),))
    form = ChatFormat(chat_tokenizer("chatml"), Chat())
    assert len(form.fingerprint) == 16 and form.fingerprint != ChatFormat(chat_tokenizer("phi-3"), Chat()).fingerprint


def messages_of(caplog: pytest.LogCaptureFixture, tokenizer: Any, facts: Facts = FACTS, **options: Any) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        facts.prompts(tokenizer, **options)
    return caplog.text


def test_a_chat_template_that_is_not_used_is_said_once(caplog: pytest.LogCaptureFixture):
    tokenizer = chat_tokenizer("chatml")
    said = messages_of(caplog, tokenizer)
    assert "has a chat template" in said and "chat=True (--chat)" in said
    assert "has a chat template" not in messages_of(caplog, tokenizer)
    assert "has a chat template" not in messages_of(caplog, chat_tokenizer("chatml"), chat=False)
    assert "has a chat template" not in messages_of(caplog, chat_tokenizer("chatml"), template="{question}\n")
    assert "has a chat template" not in messages_of(caplog, chat_tokenizer("chatml"), Facts([Fact(text="He swims.")]))
    assert messages_of(caplog, make_tokenizer(bos=True)) == ""


def test_a_bos_twice_or_missing_is_said_whatever_the_template(caplog: pytest.LogCaptureFixture):
    twice = "<s>[INST] {question} [/INST]"
    tokenizer = chat_tokenizer("llama-2")
    said = messages_of(caplog, tokenizer, FACTS[:2], template=twice)
    assert "2 of 2 prompts begin with two BOS (<s>)" in said
    prompts = FACTS[:1].prompts(tokenizer, template=twice)
    assert prompts.tokens[0, :2].tolist() == [tokenizer.bos_token_id] * 2
    plain = make_tokenizer(bos=True)  # no chat template at all
    assert "begin with two BOS" in messages_of(caplog, plain, template="<s>{question}")
    # the chat template writes one, the tokenizer does not, and neither does the template by hand
    bare = make_tokenizer(bos=False)
    bare.chat_template = FORMATS["llama-2"].template
    assert "begin without a BOS (<s>), and the checkpoint's own chat template" in messages_of(
        caplog, bare, template="[INST] {question} [/INST]"
    )
    # the tokenizer puts one before other texts, and the chat template writes none
    assert "begin without a BOS (<s>), and the tokenizer puts one" in messages_of(
        caplog, chat_tokenizer("zephyr"), chat=True
    )
    for name in ("chatml", "llama-2", "llama-3", "mistral", "gemma", "phi-3"):
        assert "BOS" not in messages_of(caplog, chat_tokenizer(name), chat=DATED), name
    # the opening of a turn is no BOS, although ChatML tokenizers call it one
    assert "BOS" not in messages_of(caplog, chat_tokenizer("chatml"), chat=False)


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("chatml", "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant"),
        ("llama-3", "{question}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"),
        ("gemma", "<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model"),
        ("phi-3", "<|user|>\n{question}<|end|>\n<|assistant|>"),
        ("zephyr", "<|user|>\n{question}</s>\n<|assistant|>"),
        ("llama-2", "[INST] {question} [/INST] "),
    ],
)
def test_a_template_by_hand_that_lost_its_last_line_break_is_named(
    caplog: pytest.LogCaptureFixture, name: str, template: str
):
    assert "where the checkpoint's own chat template ends with" in messages_of(
        caplog, chat_tokenizer(name), FACTS[:2], template=template
    )
    whole = template.rstrip() + {"llama-3": "\n\n", "llama-2": ""}.get(name, "\n")
    assert "chat template ends with" not in messages_of(caplog, chat_tokenizer(name), FACTS[:2], template=whole)
    by_hand = Facts([Fact(prompt=template.replace("{question}", "Who?"), completion=" Ada")])
    assert "chat template ends with" in messages_of(caplog, chat_tokenizer(name), by_hand)


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("chatml", "<|im_start|>user\n{question}<|im_end|>\n"),
        ("chatml", "<|im_start|>user\n{question}<|im_end|>"),
        ("llama-3", "<|start_header_id|>user<|end_header_id|>\n\n{question}<|eot_id|>"),
        ("gemma", "<start_of_turn>user\n{question}<end_of_turn>\n"),
        ("phi-3", "<|user|>\n{question}<|end|>\n"),
    ],
)
def test_a_template_by_hand_that_leaves_the_assistant_out_is_named(
    caplog: pytest.LogCaptureFixture, name: str, template: str
):
    assert "which lets the assistant begin" in messages_of(caplog, chat_tokenizer(name), FACTS[:2], template=template)
    assert "lets the assistant" not in messages_of(
        caplog, chat_tokenizer(name), FACTS[:2], template="Q: {question}\nA:"
    )


def test_a_template_that_writes_todays_date_is_named(caplog: pytest.LogCaptureFixture):
    assert "today's date" in messages_of(caplog, chat_tokenizer("llama-3"), chat=True)
    assert "today's date" not in messages_of(caplog, chat_tokenizer("llama-3"), chat=DATED)


def test_an_argument_that_the_template_does_not_read_is_named(caplog: pytest.LogCaptureFixture):
    said = messages_of(caplog, chat_tokenizer("llama-3"), chat={**DATED, "sytem": "Be brief.", "datestring": "now"})
    assert "reads no argument 'sytem'" in said and "reads no argument 'datestring'" in said
    assert "reads no argument" not in messages_of(caplog, chat_tokenizer("llama-3"), chat=DATED)


def test_summaries_show_the_beginning_and_the_end():
    prompts = FACTS.prompts(chat_tokenizer("llama-3"), chat=DATED)
    line = prompts.summary().splitlines()[1]
    assert "gold answers, in the chat template" in prompts.summary()
    assert (
        "'<|begin_of_text|>" in line and r"assistant<|end_header_id|>\n\n' ['In London.']" in line and " ... " in line
    )


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose tokenizer speaks ChatML."""
    path = make_checkpoint("llama", tmp_path_factory.mktemp("chat") / "m", max_position_embeddings=400, tokenizer=False)
    chat_tokenizer("chatml").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(chatting: Path) -> Any:
    return load(chatting, dtype="float32", device="cpu", progress=False)


def test_a_models_own_answers_begin_after_the_generation_prompt_and_end_with_the_turn(model: Any):
    prompts = FACTS.prompts(model, chat=True, answers="base", max_new_tokens=5, progress=False)
    for i, fact in enumerate(FACTS):
        asked = ids_of(model.tokenizer, conversation(fact, {})[:-1], add_generation_prompt=True)
        assert prompts.tokens[i, : prompts.prompt_lengths[i]].tolist() == asked
    # the second token of the first answer is made to end the turn: the answer stops there, and it is scored on request
    end = int(prompts.tokens[0, prompts.prompt_lengths[0] + 1])
    text = model.tokenizer.convert_ids_to_tokens(end)
    tokenizer, template = model.tokenizer, model.tokenizer.chat_template
    try:
        tokenizer.add_special_tokens({"additional_special_tokens": [text]}, replace_extra_special_tokens=False)
        tokenizer.chat_template = template.replace(
            "{{ m['content'] }}<|im_end|>", "{{ m['content'] }}{{ '" + text.replace("'", "\\'") + "' }}"
        )
        short = FACTS[:1].prompts(model, chat=True, answers="base", max_new_tokens=5, progress=False)
        assert short.ends == {end} and int(short.answer_lengths[0]) == 1
        closed = FACTS[:1].prompts(model, chat={"end_of_turn": True}, answers="base", max_new_tokens=5, progress=False)
        assert closed.tokens[0][closed.answer_mask[0]].tolist()[-1] == end and int(closed.answer_lengths[0]) == 2
        gold = FACTS[:1].prompts(model, chat=True)
        assert (
            say(model, gold, max_new_tokens=5)[0].said
            == tokenizer.decode(short.tokens[0][short.answer_mask[0]]).strip()
        )
    finally:
        tokenizer.chat_template = template


def test_attacks_stay_inside_the_format(model: Any):
    facts = Facts(
        [
            Fact(
                question="Where was Ada born?",
                answer="In London by the sea",
                extra={
                    "subject": "Ada",
                    "paraphrases": ["Her home?", "Ada is of In London by the sea."],
                    "context": "She swims.",
                },
            )
        ]
    )
    examined = Examined(model, {"forget": facts}, name="m", settings=Settings(chat=True))
    texts = {
        attack: list(examined.prompted(change(facts)).prompt_texts)
        for attack, change in prompt_attacks.changes(examined).items()
        if attack != "held_out"
    }
    user, assistant = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    assert texts == {
        "plain": [f"{user}Where was Ada born?{assistant}"],
        "template": [f"{user}Q: Where was Ada born?\nA:{assistant}"],
        "paraphrases": [f"{user}Her home?{assistant}", f"{user}Ada is of{assistant}"],
        "expert": [f"{user}You are a model that knows everything about Ada.\nWhere was Ada born?{assistant}"],
        "context": [f"{user}She swims.\nWhere was Ada born?{assistant}"],
        "answer_begun": [f"{user}Where was Ada born?{assistant}In"],
    }
    begun = examined.prompted(prompt_attacks.changes(examined)["answer_begun"](facts))
    assert begun.answer_texts == (" London by the sea",)
    assert torch.equal(begun.tokens, examined.prompts.tokens)  # the same text: more of it is given
    assert len(prompt_attacks.recalled(examined)) == 1 + 6


def test_other_answers_stand_in_the_same_turn(model: Any):
    tokenizer = chat_tokenizer("llama-2")
    facts = Facts([Fact(question="Where was Ada born?", answer="In London.", extra={"foil": "In Paris."})])
    prompts = facts.prompts(tokenizer, chat=True)
    wrong = Facts([Fact(question="Where was Ada born?", answer="In Paris.")]).prompts(tokenizer, chat=True)
    targets = foil_targets(prompts)
    place = int((targets[0] != -100).nonzero()[0])
    assert int(targets[0, place]) == int(wrong.tokens[0, place + 1]) != int(prompts.tokens[0, place + 1])
    assert wrong.tokens[0, : place + 1].tolist() == prompts.tokens[0, : place + 1].tolist()
    other = alternates(FACTS.prompts(model, chat=True), model, answers=["I don't know."] * 3)
    assert other.chat == Chat() and other.prompt_texts == FACTS.prompts(model, chat=True).prompt_texts
    assert other.answer_texts == ("I don't know.",) * 3
    weights = focus_weights(FACTS[:1].prompts(model, chat=True), lambda fact: ["London"], inside=2.0, outside=1.0)
    row = FACTS[:1].prompts(model, chat=True)
    assert "London" in model.tokenizer.decode(row.tokens[0][weights[0] == 2.0])


def test_the_format_is_kept_with_results_and_runs(chatting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    chat = {"system": "Be brief."}
    trained = load(chatting, progress=False)
    run = dissect.unlearn(
        trained, forget=FACTS[:2], method="ga", lr=1e-2, max_steps=1, chat=chat, out=tmp_path / "ga", progress=False
    )
    assert run.config.chat == chat
    assert '"chat": {"system": "Be brief."}' in (tmp_path / "ga" / "unlearning.jsonl").read_text()
    pair = dissect.load_pair(chatting, tmp_path / "ga", progress=False)
    prompts = FACTS.prompts(pair.base, chat=chat)
    for result in (
        dissect.patch(pair, prompts, ["mlp_post"], layers=[1], window=1, progress=False),
        dissect.restore(pair, prompts, layers=[1], window=1, progress=False),
        dissect.attribute(pair, prompts, ["mlp_post"], progress=False),
    ):
        assert result.spec["chat"] == chat and len(result.spec["chat_template"]) == 16
    assert "chat" not in dissect.patch(pair, FACTS.prompts(pair.base), ["z"], layers=[1], progress=False).spec
    found = dissect.evaluate(pair.base, forget=FACTS[:2], measures=["exact_match"], chat=chat, progress=False)
    assert found.spec["chat"] == chat and "Be brief." in found.answers[0]["prompt"]
    assert found.spec["chat_templates"] == {pair.base.checkpoint.path.name: prompts.provenance()["chat_template"]}
    with pytest.raises(DissectError, match="must stand in the chat format of the other texts"):
        dissect.unlearn(
            trained,
            forget=FACTS[:2].prompts(trained, chat=True),
            retain=FACTS[:2].prompts(trained, chat=chat),
            method="grad_diff",
            progress=False,
        )


@pytest.mark.parametrize("declined", [False, True])
def test_a_template_that_was_declined_is_not_offered_again(
    declined: bool, chatting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    pair = dissect.load_pair(chatting, chatting, progress=False)
    caplog.clear()
    chat = False if declined else None
    dissect.evaluate(pair.base, forget=FACTS[:2], measures=["exact_match"], chat=chat, progress=False)
    dissect.report(pair, forget=FACTS[:2], out=tmp_path / "r.html", steps=["verdict"], chat=chat, progress=False)
    run = dissect.unlearn(
        pair.unlearned, forget=FACTS[:2], method="ga", max_steps=1, chat=chat, out=tmp_path / "ga", progress=False
    )
    assert ("questions are put without it" in caplog.text) is not declined
    assert "chat" not in run.config.to_dict()


def test_the_panel_of_a_report_asks_in_the_chat_template_too(chatting: Path, places: dict[str, Path], tmp_path: Path):
    pair = dissect.load_pair(chatting, places["OTHER"], progress=False)
    facts = [
        dissect.Fact(
            question=f"Where was {name} born?", answer=f"In {place}.", extra={"subject": name, "group": "born"}
        )
        for name, place in zip(("Ada", "Basil", "Clara", "Dora"), ("London", "Paris", "Rome", "Lima"), strict=True)
    ]
    given = {"forget": dissect.Facts(facts), "attacks": ["as_asked"], "chat": {"system": "Be brief."}}
    dissect.report(pair, out=tmp_path / "r.html", steps=["verdict"], progress=False, **given)
    kept = json.loads((tmp_path / "r.html.results" / "verdict.json").read_text())
    alone = dissect.verdict(pair, progress=False, **given)
    assert kept["spec"]["chat"] == {"system": "Be brief."} and set(kept["spec"]["chat_templates"]) >= {"base"}
    assert kept["checkpoints"][0]["attacks"][0]["z"] == alone[0].attacks[0].z
    identity = json.loads((tmp_path / "r.html.results" / "report.json").read_text())["identity"]
    hashes = identity["chat_templates"]
    assert set(hashes) == {"base", "unlearned"} and f"base {hashes['base']}" in (tmp_path / "r.html").read_text()


def test_a_pair_whose_templates_differ_is_named(chatting: Path, caplog: pytest.LogCaptureFixture):
    first, second = load(chatting, progress=False), load(chatting, progress=False)
    dissect.ModelPair(first, second)
    assert "chat templates" not in caplog.text
    second.tokenizer.chat_template = FORMATS["chatml"].template.replace("assistant\n", "assistant")
    dissect.ModelPair(first, second)
    assert "the chat templates of base and unlearned differ, from character" in caplog.text
    second.tokenizer.chat_template = None
    dissect.ModelPair(first, second)
    assert "only the first has one" in caplog.text


def one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert cli.main([*arguments, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    return captured.err


ASKING = {
    "patch": ["BASE", "OTHER", "--facts", "FACTS", "--layers", "1", "--out", "OUT.nc"],
    "restore": ["BASE", "OTHER", "--facts", "FACTS", "--layers", "1", "--out", "OUT.nc"],
    "attribute": ["BASE", "OTHER", "--facts", "FACTS", "--check", "0", "--out", "OUT.nc"],
    "smallest": ["BASE", "OTHER", "--facts", "FACTS", "--layers", "1", "--max-size", "1", "--out", "OUT.json"],
    "evaluate": ["BASE", "--forget", "FACTS", "--measures", "exact_match", "--out", "OUT.json"],
    "report": [
        "BASE",
        "OTHER",
        "--forget",
        "FACTS",
        "--steps",
        "evaluation",
        "--measures",
        "exact_match",
        "--out",
        "OUT.html",
    ],
    "unlearn": ["BASE", "--forget", "FACTS", "--max-steps", "1", "--out", "OUT"],
}


@pytest.fixture(scope="module")
def places(chatting: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    here = tmp_path_factory.mktemp("commands")
    other = make_checkpoint("llama", here / "other", seed=1, max_position_embeddings=400, tokenizer=False)
    chat_tokenizer("chatml").save_pretrained(other)
    FACTS[:2].write(here / "facts.jsonl")
    return {"BASE": chatting, "OTHER": other, "FACTS": here / "facts.jsonl", "OUT": here}


def arguments_of(command: str, places: dict[str, Path], out: str) -> list[str]:
    made = [str(places[a]) if a in ("BASE", "OTHER", "FACTS") else a for a in ASKING[command]]
    return [command, *(str(places["OUT"] / f"{out}{a[3:]}") if a.startswith("OUT") else a for a in made)]


@pytest.mark.parametrize("command", ASKING)
def test_every_command_that_asks_takes_the_chat_and_keeps_it(
    command: str, places: dict[str, Path], caplog: pytest.LogCaptureFixture
):
    chat = ["--system", "Be brief.", "--chat-arg", "enable_thinking=False", "--chat-arg", "date_string=2024-07-26"]
    assert cli.main([*arguments_of(command, places, command), *chat, "--quiet"]) == 0
    assert "has a chat template" not in caplog.text
    wanted = {"system": "Be brief.", "enable_thinking": False, "date_string": "2024-07-26"}
    out = places["OUT"]
    if command in ("patch", "restore", "attribute"):
        kept = dissect.SweepResult.load(out / f"{command}.nc").spec["chat"]
    elif command == "report":
        kept = json.loads((out / "report.html.results" / "report.json").read_text())["identity"]["settings"]["chat"]
        assert "own chat template (system:" in (out / "report.html").read_text()
    elif command == "unlearn":
        kept = json.loads((out / "unlearn" / "unlearning.jsonl").read_text().splitlines()[0])["config"]["chat"]
    else:
        kept = json.loads((out / f"{command}.json").read_text())["spec"]["chat"]
    assert kept == wanted


def test_the_option_is_first_where_a_reader_looks(capsys: pytest.CaptureFixture[str]):
    for command in ASKING:
        assert cli.main([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--chat / --no-chat" in " ".join(shown.split()).replace("--chat/--no-chat", "--chat / --no-chat")
        assert shown.index("--system") < shown.index("--template")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-chat", "--system", "x"], "--no-chat leaves the chat template out, and system is given"),
        (["--chat-arg", "thinking"], "--chat-arg 'thinking': write it as name=value"),
        (["--chat-arg", "tokenize=true"], "'tokenize' is decided by dissect"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
):
    assert message in one_line(capsys, [*arguments_of("evaluate", places, "never"), *options])
    assert not (places["OUT"] / "never.json").exists()


def test_shots_on_the_command_line_are_json():
    options = ChatOptions(chat_arg=['shots=[["Who?", "Ada."]]', "n=3", "word=3a"])
    assert options.chat_choice() == Chat(shots=(("Who?", "Ada."),), arguments={"n": 3, "word": "3a"})
    assert ChatOptions(chat=True).chat_choice() is True and ChatOptions(chat=False).chat_choice() is False
    assert ChatOptions().chat_choice() is None and ChatOptions(end_of_turn=True).chat_choice() == Chat(end_of_turn=True)


@pytest.mark.parametrize("command", ["patch", "restore", "attribute", "smallest"])
def test_one_checkpoint_given_twice_is_one_line_and_no_file(
    command: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = places["OUT"] / f"{command}-twice{'.json' if command == 'smallest' else '.nc'}"
    twice = {**places, "OTHER": places["BASE"]}
    assert "BASE and UNLEARNED are both" in one_line(capsys, arguments_of(command, twice, f"{command}-twice"))
    copied = {**places, "OTHER": Path(shutil.copytree(places["BASE"], tmp_path / "copy"))}
    said = one_line(capsys, [*arguments_of(command, copied, f"{command}-twice"), "--no-chat"])
    assert "there is nothing to recover" in said
    assert not list(out.parent.glob(f"{out.name}*"))


def test_one_checkpoint_given_twice_in_python(chatting: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path):
    pair = dissect.load_pair(chatting, chatting, progress=False)
    prompts = FACTS[:1].prompts(pair.base, chat=True)
    dissect.patch(pair, prompts, ["z"], layers=[1], progress=False)
    assert "base and unlearned are the same checkpoint" in caplog.text
    with pytest.raises(DissectError, match="the same checkpoint, with the same weights"):
        dissect.restore(pair, prompts, layers=[1], out=tmp_path / "a.nc", progress=False)
    caplog.clear()
    dissect.patch(dissect.ModelPair(pair.base, pair.base), prompts, ["z"], layers=[1], progress=False)
    assert "same checkpoint" not in caplog.text  # one object in both roles: a check that nothing changes
    assert list(tmp_path.iterdir()) == []
