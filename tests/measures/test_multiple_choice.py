"""Multiple choice against a computation from transformers alone, one text at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import available
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint

ROWS = [
    {
        "question": " Where was Ada born? ",
        "choices": ["Paris", "London", "the sea"],
        "answer": 1,
        "subject": "old_people",
    },
    {
        "question": "What is Basil?",
        "choices": ["a baker of old houses", "a girl", "a sea"],
        "answer": "C",
        "subject": "trades",
    },
    {"question": "Does Lily swim?", "choices": ["Yes, by the sea", "Née Köln"], "answer": 0, "subject": "old_people"},
]
SHOTS = [
    {"question": "Who is Lily?", "choices": ["a girl", "a house"], "answer": 0, "subject": "old_people"},
    {"question": "Who is Ada?", "choices": ["a sea", "a girl"], "answer": 1, "subject": "trades"},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("long") / "llama", max_position_embeddings=512)


@pytest.fixture(scope="module")
def model(path: Path) -> HookedTransformer:
    return load(path, dtype="float32", device="cpu", progress=False)


def questions(rows: list[dict]) -> Facts:
    return Facts.from_dataset(rows)


def alone(path: Path, before: str, text: str) -> tuple[float, int]:
    tokenizer = AutoTokenizer.from_pretrained(path)
    reference = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids, start = tokenizer(before + text)["input_ids"], len(tokenizer(before)["input_ids"])
    with torch.no_grad():
        logs = reference(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return float(logs[torch.arange(start - 1, len(ids) - 1), ids[start:]].sum()), len(ids) - start


def lettered(row: dict) -> str:
    lines = [f"{'ABC'[i]}. {choice}\n" for i, choice in enumerate(row["choices"])]
    return row["question"].strip() + "\n" + "".join(lines) + "Answer:"


def right(row: dict) -> int:
    return "ABC".index(row["answer"]) if isinstance(row["answer"], str) else row["answer"]


def head(row: dict) -> str:
    return f"The following are multiple choice questions (with answers) about {row['subject'].replace('_', ' ')}.\n\n"


def measured(model: HookedTransformer, name: str, *, shots: int = 0, describe: bool = True) -> list:
    options = {"multiple_choice.shots": shots, "multiple_choice.describe": describe}
    sets = {"mmlu": questions(ROWS), "choice_shots": questions(SHOTS)}
    examined = Examined(model, sets, name="m", set="mmlu", settings=Settings(options=options, batch_size=4))
    return available()[name].compute(examined)


@pytest.mark.parametrize("shots", [0, 1])
def test_letters_are_scored_as_by_transformers_alone(path, model, shots):
    solved = {shot["subject"]: f"{lettered(shot)} {'AB'[right(shot)]}\n\n" for shot in SHOTS}
    hits, shares = [], []
    for row in ROWS:
        before = head(row) + (solved[row["subject"]] if shots else "") + lettered(row)
        logs = np.array([alone(path, before, f" {'ABC'[i]}")[0] for i in range(len(row["choices"]))])
        hits.append(float(logs.argmax() == right(row)))
        shares.append(np.exp(logs)[right(row)] / np.exp(logs).sum())
    found = measured(model, "multiple_choice", shots=shots)
    assert found[0].items == pytest.approx(hits)
    assert found[0].value == np.mean(hits)
    assert {each.at["topic"]: each.value for each in found[1:]} == {
        "old people": np.mean([hits[0], hits[2]]),
        "trades": hits[1],
    }
    probability = measured(model, "multiple_choice_probability", shots=shots)[0]
    assert probability.items == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("", lambda text, n: 1),
        ("_per_token", lambda text, n: n),
        ("_per_byte", lambda text, n: len(text.encode())),
        ("_per_character", lambda text, n: len(text)),
    ],
)
def test_answers_are_scored_as_by_transformers_alone(path, model, name, size):
    hits = []
    for row in ROWS:
        before = f"Question: {row['question'].strip()}\nAnswer:"
        scores = [alone(path, before, f" {text}") for text in row["choices"]]
        over = [logs / size(text, n) for (logs, n), text in zip(scores, row["choices"], strict=True)]
        hits.append(float(int(np.argmax(over)) == right(row)))
    found = measured(model, f"multiple_choice_answer{name}", describe=False)[0]
    assert found.items == pytest.approx(hits)


def test_log_probabilities_are_those_of_transformers(path, model):
    from dissect.measures.choices.choice_scores import choice_scores

    examined = Examined(model, {"mmlu": questions(ROWS)}, name="m", set="mmlu")
    scores = choice_scores(examined, letters=False)
    for row, logs in zip(ROWS, scores.logprobs, strict=True):
        before = head(row) + f"Question: {row['question'].strip()}\nAnswer:"
        assert logs == pytest.approx(
            [alone(path, before, f" {text}")[0] for text in row["choices"]], abs=1e-4, rel=1e-6
        )


def test_what_cannot_be_asked_says_why(model):
    with pytest.raises(Undefined, match="needs 2 solved questions about old people"):
        measured(model, "multiple_choice", shots=2)
    plain = Examined(model, {"mmlu": Facts.from_dataset([{"question": "x", "answer": "y"}])}, name="m", set="mmlu")
    with pytest.raises(Undefined, match="at least two 'choices'"):
        available()["multiple_choice"].compute(plain)
