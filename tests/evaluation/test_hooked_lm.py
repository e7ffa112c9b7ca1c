"""lm-eval's tasks on hooked models: by a stand-in for its base class, and by lm-eval itself where it is installed."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import dissect
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.evaluation.hooked_lm import hooked_lm

CHOICES = [
    {"question": "Where was Ada born?", "choices": ["Paris", "London", "the sea", "Köln"], "answer": 1},
    {"question": "What is Basil?", "choices": ["a baker", "a girl", "a sea", "old houses"], "answer": 0},
    {"question": "Does Lily swim?", "choices": ["Yes", "in London", "by the old sea", "He likes to"], "answer": 2},
]


class StandIn:
    """The part of lm-eval's base class that splits a text, written from its documentation."""

    def loglikelihood(self, requests, disable_tqdm: bool = False):
        rows = []
        for context, continuation in (request.args for request in requests):
            whole, before = self.tok_encode(context + continuation), self.tok_encode(context)
            rows.append(((context, continuation), before, whole[len(before) :]))
        return self._loglikelihood_tokens(rows)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lm_eval.api.model")
    module.TemplateLM = StandIn  # type: ignore[attr-defined]
    for name in ("lm_eval", "lm_eval.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", module)


@pytest.fixture(scope="module")
def pair(tiny_pair) -> dissect.ModelPair:
    return dissect.load_pair(*tiny_pair("llama"), dtype="float32", device="cpu", progress=False)


def asked(context: str, continuation: str) -> SimpleNamespace:
    return SimpleNamespace(args=(context, continuation))


def prompt(row: dict) -> str:
    return f"Question: {row['question']}\nAnswer:"


def test_log_likelihoods_are_those_of_transformers(pair, tiny_pair, stand_in):
    path = tiny_pair("llama")[0]
    reference = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    texts = [(prompt(row), f" {choice}") for row in CHOICES for choice in row["choices"]]
    texts.append(("Lily likes old houses by the sea. " * 12 + "So:", " Paris"))  # longer than the context
    found = hooked_lm(pair.base, batch_size=3).loglikelihood([asked(*each) for each in texts])
    for (before, after), (logprob, greedy) in zip(texts, found, strict=True):
        whole, start = tokenizer(before + after)["input_ids"], len(tokenizer(before)["input_ids"])
        ids = whole[-(pair.base.cfg.n_ctx + 1) :]
        with torch.no_grad():
            logs = reference(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)[-(len(whole) - start) :]
        targets = torch.tensor(whole[start:])
        assert logprob == pytest.approx(float(logs.gather(-1, targets[:, None]).sum()), rel=1e-6, abs=1e-5)
        assert greedy == bool((logs.argmax(-1) == targets).all())


def recoveries(pair: dissect.ModelPair, questions: list[tuple[str, str]], layers: list[int], **patched) -> np.ndarray:
    """Recovery of p(answer)^(1/tokens) from what lm-eval's requests give, (layer, question)."""

    def probabilities(lm) -> np.ndarray:
        logs = [logprob for logprob, _ in lm.loglikelihood([asked(*each) for each in questions])]
        sizes = [len(lm.tok_encode(a + b)) - len(lm.tok_encode(a)) for a, b in questions]
        return np.exp(np.array(logs) / sizes)

    low, high = probabilities(hooked_lm(pair.unlearned)), probabilities(hooked_lm(pair.base))
    swapped = [hooked_lm(pair.unlearned, donor=pair.base, layers=[layer], **patched) for layer in layers]
    return np.stack([(probabilities(lm) - low) / (high - low) for lm in swapped])


@pytest.mark.parametrize("component", ["mlp_post", ("mlp_post", "attn_out"), "resid_post"])
def test_recovery_over_layers_is_that_of_patch(pair, stand_in, component):
    questions = [(prompt(row), " " + row["choices"][row["answer"]]) for row in CHOICES]
    facts = Facts.from_dataset([{"prompt": before, "completion": after} for before, after in questions])
    prompts = facts.prompts(pair.base)
    own = dissect.patch(pair, prompts, [component], window=1, metrics="prob", progress=False).recovery("prob")[0]
    found = recoveries(pair, questions, list(range(3)), components=component)
    np.testing.assert_allclose(found, own.values, atol=1e-5, rtol=1e-5)


def test_what_is_done_to_the_model_holds_for_the_task(pair, stand_in):
    request = [asked(prompt(CHOICES[0]), " London")]
    ((before, _),) = hooked_lm(pair.unlearned).loglikelihood(request)
    ((base, _),) = hooked_lm(pair.base).loglikelihood(request)
    blocks = ["block", "embed", "unembed", "ln_final"]
    with dissect.restored(pair.unlearned, pair.base, blocks=blocks):
        ((whole, _),) = hooked_lm(pair.unlearned).loglikelihood(request)
    assert whole == base != before
    assert hooked_lm(pair.unlearned).loglikelihood(request) == [(before, False)]
    patched = hooked_lm(pair.unlearned, donor=pair.unlearned, components="resid_post")
    assert patched.loglikelihood(request)[0][0] == before


def test_greedy_answers_stop_where_the_task_says(pair, tiny_pair, stand_in):
    settings = {"until": ["the"], "max_gen_toks": 6}
    tokenizer, lm = pair.tokenizer, hooked_lm(pair.base)
    (said,) = lm.generate_until([SimpleNamespace(args=("Lily likes", settings))])
    ids = torch.tensor([tokenizer("Lily likes")["input_ids"]])
    reference = AutoModelForCausalLM.from_pretrained(tiny_pair("llama")[0])
    new = reference.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
    assert said == tokenizer.decode(new, skip_special_tokens=True).split("the")[0]
    itself = hooked_lm(pair.base, donor=pair.base, components="resid_post")
    assert itself.generate_until([SimpleNamespace(args=("Lily likes", settings))]) == [said]
    with pytest.raises(DissectError, match="random answers"):
        lm.generate_until([SimpleNamespace(args=("Lily", {"do_sample": True, "temperature": 0.7}))])


def test_what_cannot_be_is_refused_before_any_work(pair, stand_in, monkeypatch):
    with pytest.raises(DissectError, match="layers must be some of 0 to 2"):
        hooked_lm(pair.unlearned, donor=pair.base, layers=[3])
    with pytest.raises(DissectError, match="no activation site"):
        hooked_lm(pair.unlearned, donor=pair.base, components="mlp")
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(DissectError, match=r"pip install 'dissect-unlearning\[lm-eval\]'"):
        hooked_lm(pair.base)


# --- lm-eval itself, where it is installed ---------------------------------------------------------------------------


def task(name: str, rows: Path, shots: Path | None = None, **settings):
    """One of lm-eval's multiple-choice tasks over local files, in the words of its mmlu and wmdp."""
    from lm_eval.api.task import ConfigurableTask

    files = {"test": str(rows)} | ({} if shots is None else {"dev": str(shots)})
    lettered = (
        "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
    )
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": lettered,
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "answer",
        "metric_list": [{"metric": metric} for metric in ("acc", "acc_norm", "acc_bytes")],
    }
    if shots is not None:
        config |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": 2}
    return ConfigurableTask(config=config | settings)


def evaluated(lm, *tasks) -> dict:
    from lm_eval.evaluator import evaluate

    return evaluate(lm=lm, task_dict={each.config.task: each for each in tasks}, bootstrap_iters=0, log_samples=True)


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def lm_eval(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """lm-eval, which sets environment variables when it is imported."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name in ("HF_XET_HIGH_PERFORMANCE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    return pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import make_checkpoint

    return make_checkpoint("llama", tmp_path_factory.mktemp("long") / "llama", max_position_embeddings=512)


def test_lm_evals_tasks_give_what_they_give_on_transformers(longer, tmp_path, lm_eval):
    from lm_eval.models.huggingface import HFLM

    rows, shots = written(tmp_path / "rows.jsonl", CHOICES), written(tmp_path / "shots.jsonl", CHOICES[::-1])
    model = dissect.load(longer, dtype="float32", device="cpu", progress=False)
    topic = "The following are multiple choice questions (with answers) about people.\n\n"
    plain = {"doc_to_text": "Question: {{question.strip()}}\nAnswer:", "doc_to_choice": "{{choices}}"}
    tasks = [
        task("letters", rows, description=topic),
        task("letters_shots", rows, shots, description=topic),
        task("answers", rows, **plain),
        task("answers_shots", rows, shots, **plain),
    ]
    ours, theirs = evaluated(hooked_lm(model), *tasks), evaluated(HFLM(pretrained=str(longer), device="cpu"), *tasks)
    for name in ours["results"]:
        for a, b in zip(ours["samples"][name], theirs["samples"][name], strict=True):
            found, expected = ([float(log) for ((log, _),) in each["resps"]] for each in (a, b))
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-5)
        for metric in ("acc,none", "acc_norm,none", "acc_bytes,none"):
            assert ours["results"][name][metric] == theirs["results"][name][metric]

    # dissect's own measures are those numbers
    facts, solved = (Facts.from_choices(path, topic="people") for path in (rows, shots))
    for n_shots, suffix in ((0, ""), (2, "_shots")):
        for described, names in (
            (True, {"multiple_choice": f"letters{suffix} acc"}),
            (
                False,
                {
                    "multiple_choice_answer": f"answers{suffix} acc",
                    "multiple_choice_answer_per_character": f"answers{suffix} acc_norm",
                    "multiple_choice_answer_per_byte": f"answers{suffix} acc_bytes",
                },
            ),
        ):
            result = dissect.evaluate(
                {"m": model},
                sets={"choices": facts, "choice_shots": solved},
                measures=list(names),
                options={"multiple_choice.shots": n_shots, "multiple_choice.describe": described},
                n_examples=0,
                progress=False,
            )
            for measure, where in names.items():
                name, metric = where.split()
                assert result.get("m", measure, "choices").value == theirs["results"][name][f"{metric},none"]


def test_recovery_of_an_lm_eval_task_is_that_of_patch(demo, tmp_path, lm_eval):
    pair = dissect.load_pair(demo / "base", demo / "npo", dtype="float32", device="cpu", progress=False)
    forget = dissect.Facts.read(demo / "forget.jsonl")[:6]
    answers = [str(fact.answer) for fact in forget]
    rows = [
        {"question": fact.question, "choices": [answers[i], answers[i - 1]], "answer": 0}
        for i, fact in enumerate(forget)
    ]
    words = {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}"}
    made = task("people", written(tmp_path / "rows.jsonl", rows), **words)
    prompts = forget.prompts(pair.base)
    sizes = prompts.answer_lengths.numpy()

    def probabilities(lm) -> np.ndarray:
        samples = sorted(evaluated(lm, made)["samples"]["people"], key=lambda sample: sample["doc_id"])
        return np.exp(np.array([float(sample["resps"][0][0][0]) for sample in samples]) / sizes)

    low, high = probabilities(hooked_lm(pair.unlearned)), probabilities(hooked_lm(pair.base))
    layers = range(pair.base.cfg.n_layers)
    found = [
        (probabilities(hooked_lm(pair.unlearned, donor=pair.base, layers=[layer])) - low) / (high - low)
        for layer in layers
    ]
    own = dissect.patch(pair, prompts, "mlp_post", window=1, metrics="prob", progress=False).recovery("prob")[0]
    np.testing.assert_allclose(np.stack(found), own.values, atol=1e-5, rtol=1e-5)
