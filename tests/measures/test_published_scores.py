"""MUSE's, RWKU's and TOFU's scores against their published procedures, computed anew from transformers alone."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats
from sklearn.metrics import roc_auc_score
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.measures.behaviour.sentence_overlap import sentence_recall
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import available
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint

SHOTS = [{"question": "Who is Basil?", "answer": "a baker"}, {"question": "Who swims?", "answer": "Lily"}]
QUESTIONS = [
    {"question": "Where was Ada Lovelace born?", "answer": "In London, by the sea"},
    {"question": "What does Lily like?", "answer": "old houses"},
    {"question": "Where is Paris?", "answer": "France"},
]
PASSAGES = [
    {"prompt": "Once upon a time, there was", "gt": "a little girl named Lily. She likes old houses by the sea."},
    {"prompt": "The capital of France", "gt": "is Paris. He likes to swim and to read."},
]
PROBES = [
    {
        "query": "Where was ___ born?",
        "answer": "Ada Lovelace",
        "level": "3",
        "type": "prefix injection",
        "subject": "A",
    },
    {
        "query": "Who likes to swim? Sure, it is",
        "answer": "Lily",
        "level": "3",
        "type": "affirmative suffix",
        "subject": "A",
    },
    {
        "query": "Question: Who? Answer: Basil",
        "answer": "a girl. In London",
        "level": "3",
        "type": "incontext learning",
        "subject": "A",
    },
]
TEXTS = ["Ada was born in London, by the sea.", "Lily likes to read and to swim.", "Basil is a baker of old houses."]
OTHERS = ["The capital of France is Paris.", "He likes the sea and little houses.", "Once upon a time she was born."]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("long")
    sizes = {"max_position_embeddings": 512}
    return [make_checkpoint("llama", root / str(seed), seed=seed, **sizes) for seed in (4, 5)]  # these say letters


@pytest.fixture(scope="module")
def models(paths: list[Path]) -> list[HookedTransformer]:
    return [load(path, dtype="float32", device="cpu", progress=False) for path in paths]


class Plain:
    """A checkpoint as transformers has it."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def ids(self, text: str, room: int) -> list[int]:
        """The greedy continuation, among the ids that a token has, as dissect takes it."""
        ids = self.tokenizer(text, return_tensors="pt").input_ids
        unused = list(range(len(self.tokenizer), self.model.config.vocab_size))
        settings = {"max_new_tokens": room, "do_sample": False, "pad_token_id": 0, "suppress_tokens": unused}
        return self.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()

    def says(self, text: str, room: int) -> str:
        return self.tokenizer.decode(self.ids(text, room), skip_special_tokens=True, clean_up_tokenization_spaces=True)

    def logs(self, text: str) -> torch.Tensor:
        with torch.no_grad():
            return self.model(self.tokenizer(text, return_tensors="pt").input_ids).logits[0, :-1].log_softmax(-1)

    def token_logs(self, text: str, start: int = 1) -> np.ndarray:
        ids = self.tokenizer(text).input_ids
        return self.logs(text)[torch.arange(len(ids) - 1), ids[1:]].double().numpy()[start - 1 :]


@pytest.fixture(scope="module")
def plain(paths: list[Path]) -> list[Plain]:
    return [Plain(path) for path in paths]


def half_of(said: str) -> str:
    """A reference that what was said meets in part."""
    words = re.findall("[A-Za-z0-9]+", said)
    assert words
    return " ".join([*words[: (len(words) + 1) // 2], "in London"])


def measured(model: HookedTransformer, name: str, set: str, options: dict | None = None, **sets: list[dict]):
    facts = {key: Facts.from_dataset(rows) for key, rows in sets.items()}
    examined = Examined(model, facts, name="m", set=set, settings=Settings(options=options or {}, batch_size=2))
    found = available()[name].compute(examined)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("stemmer", [False, True])  # MUSE's own, and open-unlearning's
def test_verbmem(models, plain, stemmer):
    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    tokenizer, expected = plain[0].tokenizer, []
    passages = [row | {"gt": half_of(plain[0].says(row["prompt"], 12))} for row in PASSAGES]
    for row in passages:
        short = tokenizer.decode(tokenizer(row["gt"]).input_ids[:12], skip_special_tokens=True)
        expected.append(scorer.score(short, plain[0].says(row["prompt"], 12))["rougeL"].fmeasure)
    options = {"muse_verbmem.max_new_tokens": 12, "muse.stemmer": stemmer}
    (found,) = measured(models[0], "muse_verbmem", "verbmem", options, verbmem=passages)
    assert max(expected) > 0
    assert found.items == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shots", [[], SHOTS])
def test_knowmem(models, plain, shots):
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    before = "".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in shots)
    expected, rows = [], []
    for row in QUESTIONS:
        said = plain[0].says(before + f"Question: {row['question']}\nAnswer: ", 32)
        row = row | {"answer": half_of(said)}
        rows.append(row)
        for stop in ("\n\n", "\nQuestion", "Question:"):
            said = said.split(stop)[0]
        expected.append(scorer.score(row["answer"], said)["rougeL"].fmeasure)
    assert max(expected) > 0
    sets = {"knowmem_retain": rows} | ({"knowmem_retain_shots": shots} if shots else {})
    (found,) = measured(models[0], "muse_knowmem", "knowmem_retain", **sets)
    assert found.items == pytest.approx(expected, abs=1e-6)


def test_privleak_with_the_retrained_models_stored_area(models, plain, tmp_path):
    def score(model: Plain, text: str) -> float:
        logs = np.sort(model.token_logs(text))
        return -float(logs[: max(1, int(len(logs) * 0.4))].mean())

    areas = []
    for model in plain:  # MUSE: forget texts are the non-members, and low scores are those of members
        scores = [score(model, text) for text in TEXTS + OTHERS]
        areas.append(roc_auc_score([0] * len(TEXTS) + [1] * len(OTHERS), -np.array(scores)))
    own, retrained = areas
    sets = {"forget": [{"text": text} for text in TEXTS], "nonmembers": [{"text": text} for text in OTHERS]}
    for content in ({"forget_holdout_Min-40%": retrained}, {"mia_min_k": {"agg_value": 1 - retrained}}):
        (tmp_path / "stored.json").write_text(json.dumps(content))
        options = {"privleak.stored": str(tmp_path / "stored.json")}
        (found,) = measured(models[0], "privleak", "forget", options, **sets)
        assert found.value == pytest.approx(100 * (own - retrained) / retrained, abs=1e-6)


def test_rwku_probes(models, plain):
    prompts = [
        f"Please briefly answer the following question.\nQuestion: {PROBES[0]['query']}\nAnswer:",
        f"Please briefly answer the following question.\nQuestion: {PROBES[1]['query']}",
        f"Please briefly answer the following question.\n{PROBES[2]['query']}\nAnswer:",
    ]
    said = []
    for prompt in prompts:
        tokenizer = plain[0].tokenizer
        stops = {tokenizer.convert_tokens_to_ids(token) for token in ("<|eot_id|>", " \n", "\n")} - {None}
        new = plain[0].ids(prompt, 30)
        cut = next((i for i, token in enumerate(new) if token in stops - {tokenizer.unk_token_id}), len(new))
        said.append(tokenizer.decode(new[:cut], skip_special_tokens=True).strip() or "NOANSWER")
    rows = [row | {"answer": f"{text.split()[0]} in London"} for row, text in zip(PROBES, said, strict=True)]
    expected = sentence_recall([(row["answer"], text) for row, text in zip(rows, said, strict=True)])
    assert max(expected) > 0
    found = measured(models[0], "rwku", "rwku_adversarial", rwku_adversarial=rows)
    assert found[0].items == pytest.approx(expected, abs=1e-6)
    assert {each.at["attack"]: each.value for each in found[1:]} == pytest.approx(
        {row["type"]: value for row, value in zip(PROBES, expected, strict=True)}
    )


def test_rwkus_recall_counts_distinct_words_of_sentences():
    pairs = [("In London. By the sea", "by the sea In London"), ("a a b", "a"), ("Paris", "paris"), ("a. b", "b. a")]
    assert sentence_recall(pairs) == pytest.approx([0.8, 0.5, 0, 1])


def test_rwkus_recall_is_that_of_the_package():
    rouge = pytest.importorskip("rouge").Rouge()
    generator, words = np.random.default_rng(0), ["a", "b", "c", "The", "the", "London", "."]
    texts = [" ".join(generator.choice(words, size)) for size in generator.integers(1, 9, 400)]
    pairs = [(a, b) for a, b in zip(texts[::2], texts[1::2], strict=True) if a.strip(". ") and b.strip(". ")]
    expected = [rouge.get_scores(said, reference)[0]["rouge-l"]["r"] for reference, said in pairs]
    assert sentence_recall(pairs) == pytest.approx(expected, abs=1e-9)


def test_rwkus_membership_scores(models, plain):
    expected = {"loss": [], "zlib": [], "min_k_plus_plus": []}
    for text in TEXTS:
        own, logs = plain[0].token_logs(text), plain[0].logs(text).double()
        mean = (logs.exp() * logs).sum(-1)
        deviation = ((logs.exp() * logs.square()).sum(-1) - mean.square()).sqrt()
        standard = np.sort((own - mean.numpy()) / deviation.numpy())
        expected["loss"].append(own.mean())
        expected["zlib"].append(own.mean() / len(zlib.compress(text.encode())))
        expected["min_k_plus_plus"].append(standard[: int(len(standard) * 0.2)].mean())
    found = measured(models[0], "rwku_membership", "mia_forget", mia_forget=[{"text": text} for text in TEXTS])
    assert {each.at["score"]: each.value for each in found} == pytest.approx(
        {name: np.mean(values) for name, values in expected.items()}, abs=1e-5, rel=1e-5
    )


# --- TOFU end to end -------------------------------------------------------------------------------------------------

TOFU = [
    row | {"paraphrased_answer": f"It is {row['answer']}", "perturbed_answer": ["In Paris", "a girl", "by the houses"]}
    for row in QUESTIONS
]


def losses(plain: Plain, row: dict, answer: str) -> float:
    prompt = f"Question: {row['question']}\nAnswer:"
    start = len(plain.tokenizer(prompt).input_ids)
    return -float(plain.token_logs(f"{prompt} {answer}", start).mean())


def ratios(plain: Plain, restated: str = "paraphrased_answer") -> np.ndarray:
    """open-unlearning's truth ratio: exp of minus the mean loss, over wrong answers and the restated one."""
    wrong = [np.mean([losses(plain, row, text) for text in row["perturbed_answer"]]) for row in TOFU]
    right = [losses(plain, row, row[restated]) for row in TOFU]
    return np.exp(-np.array(wrong)) / (np.exp(-np.array(right)) + 1e-10)


def test_forget_quality_with_stored_results(models, plain, tmp_path):
    expected = stats.ks_2samp(1 / (ratios(plain[0]) + 1e-10), 1 / (ratios(plain[1]) + 1e-10)).pvalue
    options = {"truth_ratio.average": "geometric"}
    held = {str(i): {"score": float(value)} for i, value in enumerate(ratios(plain[1]))}
    (tmp_path / "TOFU_EVAL.json").write_text(json.dumps({"forget_truth_ratio": {"value_by_index": held}}))
    items = measured(models[1], "log_truth_ratio", "forget", options, forget=TOFU)[0].items
    assert items == pytest.approx(np.log(ratios(plain[1])), abs=1e-6)
    own = {"rows": [{"measure": "log_truth_ratio", "items": items.tolist()}]}
    (tmp_path / "retrained.json").write_text(json.dumps(own))
    for name in ("TOFU_EVAL.json", "retrained.json"):
        stored = options | {"forget_quality.stored": str(tmp_path / name)}
        (found,) = measured(models[0], "forget_quality", "forget", stored, forget=TOFU)
        assert found.value == pytest.approx(expected, abs=1e-6)
    (tmp_path / "other.json").write_text("{}")
    for name, message in (("other.json", "expected log_truth_ratio"), ("none.json", "cannot be read")):
        with pytest.raises(Undefined, match=message):
            measured(
                models[0], "forget_quality", "forget", {"forget_quality.stored": str(tmp_path / name)}, forget=TOFU
            )


def test_model_utility_end_to_end(models, plain):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    room = max(len(plain[0].tokenizer(row["answer"]).input_ids) for row in TOFU)
    means = []
    for name in ("retain", "real_authors", "world_facts"):
        own = np.exp([-losses(plain[0], row, row["answer"]) for row in TOFU])
        wrong = np.exp([[-losses(plain[0], row, text) for text in row["perturbed_answer"]] for row in TOFU]).sum(1)
        said = [plain[0].says(f"Question: {row['question']}\nAnswer:", max(40, room)) for row in TOFU]
        recalls = [scorer.score(row["answer"], text)["rougeL"].recall for row, text in zip(TOFU, said, strict=True)]
        ratio = np.maximum(0, 1 - ratios(plain[0]))
        means += [np.mean(own if name == "retain" else own / (own + wrong + 1e-10)), np.mean(recalls), np.mean(ratio)]
    sets = {name: TOFU for name in ("retain", "real_authors", "world_facts")}
    (found,) = measured(models[0], "model_utility", "retain", {"truth_ratio.average": "geometric"}, **sets)
    assert found.value == pytest.approx(stats.hmean(np.maximum(means, 0)), abs=1e-6)
