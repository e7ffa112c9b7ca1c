"""Attacks against plain transformers, scikit-learn and brute force."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from transformers import AutoModelForCausalLM

import dissect
from dissect.attacks import linear_readout as linear
from dissect.attacks import sampled_answers
from dissect.attacks.layer_states import THIRDS, layers_of
from dissect.pairing.scoring import score_sheets
from dissect.statistics.ridge import ridge_path
from tests.attacks.bench import ATTACKS, facts, few, target


@pytest.fixture(scope="module")
def path(tiny_pair) -> Path:
    return tiny_pair("llama")[0]


@pytest.fixture(scope="module")
def model(path):
    return dissect.load(path, progress=False)


@pytest.fixture(scope="module")
def plain(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def asked(sheet) -> dict[int, tuple[str, tuple[str, ...]]]:
    """By row the question and its candidate answers."""
    return {ask.row: (str(ask.asked()[0].fact.question), ask.answers) for ask in sheet.asks}


def prompt_of(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def ids_of(model, text: str) -> torch.Tensor:
    return torch.tensor([model.tokenizer(text)["input_ids"]])


@torch.no_grad()
def logprob(plain, model, prompt: str, answer: str, layer: int | None = None) -> float:
    """log p(answer | prompt) by transformers; with ``layer`` as the final norm and head read that layer's output."""
    ids = ids_of(model, f"{prompt} {answer}")
    start = len(model.tokenizer(prompt)["input_ids"])
    assert ids[0, :start].tolist() == model.tokenizer(prompt)["input_ids"]
    out = plain(ids, output_hidden_states=True)
    logits = out.logits if layer is None else plain.lm_head(plain.model.norm(out.hidden_states[layer + 1]))
    logs = logits[0].double().log_softmax(-1)
    return sum(float(logs[t - 1, ids[0, t]]) for t in range(start, ids.shape[1]))


def compared(plain, model, made, scores, prompts, layer=None) -> None:
    """Some cells of the first sheet, scored by transformers after ``prompts(question)``, the mean of several."""
    rows = asked(made.sheets[0])
    for row, column in ((0, 0), (1, 3), (4, 2)):
        question, answers = rows[row]
        told = [logprob(plain, model, prompt, answers[column], layer) for prompt in prompts(question)]
        assert scores[0][row, column] == pytest.approx(np.mean(told), abs=2e-4)


@pytest.mark.parametrize("shape", [(30, 7), (6, 11)])
def test_ridge_is_that_of_scikit_learn(shape):
    rng = np.random.default_rng(0)
    inputs, outputs = rng.normal(size=shape) + 2, rng.normal(size=(shape[0], 4)) - 1
    new, penalties = rng.normal(size=(5, shape[1])), (1e-3, 0.3, 10.0)
    unit = np.linalg.eigvalsh(np.cov(inputs.T, bias=True) * shape[0])[-min(shape) :].mean()
    for penalty, predicted in zip(penalties, ridge_path(inputs, outputs, new, penalties), strict=True):
        ridge = Ridge(alpha=penalty * unit, solver="svd").fit(inputs, outputs)
        np.testing.assert_allclose(predicted, ridge.predict(new), rtol=1e-10, atol=1e-10)


def test_readout_is_a_ridge_from_states_to_embeddings(model, plain, monkeypatch):
    """States by transformers, regression by scikit-learn, cosines by torch."""
    monkeypatch.setattr(linear, "PENALTIES", (0.1,))
    made = target(model)
    scores = ATTACKS["linear_readout_early"].run(made)

    @torch.no_grad()
    def state(question: str) -> np.ndarray:
        out = plain(ids_of(model, prompt_of(question)), output_hidden_states=True)
        return out.hidden_states[1][0, -1].double().numpy()  # after layer 0, the only one of the early third

    def embedding(question: str, answer: str) -> np.ndarray:
        prompt = prompt_of(question)
        ids = ids_of(model, f"{prompt} {answer}")[0, len(model.tokenizer(prompt)["input_ids"]) :]
        return plain.model.embed_tokens.weight.detach().double()[ids].mean(0).numpy()

    states = np.stack([state(fact.question) for fact in made.retain])
    embedded = np.stack([embedding(fact.question, fact.answer) for fact in made.retain])
    squares = np.linalg.svd(states - states.mean(0), compute_uv=False) ** 2
    ridge = Ridge(alpha=0.1 * squares.mean(), solver="svd").fit(states, embedded)
    for sheet, matrix in zip(made.sheets, scores, strict=True):
        for row, (question, answers) in asked(sheet).items():
            predicted = torch.tensor(ridge.predict(state(question)[None])[0] - embedded.mean(0))
            own = torch.tensor(np.stack([embedding(question, answer) - embedded.mean(0) for answer in answers]))
            told = torch.cosine_similarity(predicted[None], own).numpy()
            np.testing.assert_allclose(matrix[row], told, atol=1e-5)


def test_folds_of_the_readout_are_whole_subjects():
    twice = dissect.Facts([*facts(26), *facts(26)])
    folds = linear._folds(twice, np.random.default_rng(0))
    assert (folds[:26] == folds[26:]).all() and len(set(folds)) == linear.N_FOLDS


def test_layers_are_cut_in_thirds():
    for n_layers in range(1, 40):
        parts = [layers_of(third, n_layers) for third in THIRDS]
        assert all(len(part) for part in parts) and parts[-1][-1] == n_layers - 1
        if n_layers >= 3:
            assert [layer for part in parts for layer in part] == list(range(n_layers))


@pytest.mark.parametrize("third", THIRDS)
def test_a_tuned_lens_that_learnt_nothing_is_the_logit_lens(model, plain, third):
    made = target(model)
    scores = ATTACKS[f"tuned_lens_{third}"].run(made, steps=0)
    layer = min(layers_of(third, 3)[-1], 1)
    compared(plain, model, made, scores, lambda question: [prompt_of(question)], layer)
    assert made.notes == [f"Read off layer {layer}."]


def test_a_tuned_lens_that_learns_comes_nearer_to_the_model(model):
    def distance(steps: int) -> float:
        made = target(model)
        scores = ATTACKS["tuned_lens_early"].run(made, steps=steps)
        return sum(np.abs(a - b).sum() for a, b in zip(scores, made.score(), strict=True))

    assert distance(100) < 0.7 * distance(0)


def test_direction_ablated_is_that_of_plain_hooks(model, plain):
    made = target(model)
    scores = ATTACKS["direction_ablated"].run(made)
    layers = plain.model.layers

    @torch.no_grad()
    def outputs(question: str) -> torch.Tensor:
        """What each layer gives at the last token; the last hidden state of transformers is normed, so by hooks."""
        kept: list[torch.Tensor] = []
        handles = [each.register_forward_hook(lambda *args: kept.append(_first(args[2])[0, -1])) for each in layers]
        plain(ids_of(model, prompt_of(question)))
        for handle in handles:
            handle.remove()
        return torch.stack(kept).double()

    tested = [question for sheet in made.sheets for question, _ in asked(sheet).values()]
    own, other = (
        torch.stack([outputs(each) for each in some]).mean(0)
        for some in (tested, [str(fact.question) for fact in made.retain])
    )
    handles = []
    for number, layer in enumerate(layers):
        along = torch.nn.functional.normalize(own[number] - other[number], dim=0)

        def projected(module, inputs, output, along=along, level=other[number] @ along):
            states = _first(output).double()
            new = (states - torch.outer((states @ along - level).flatten(), along).view_as(states)).float()
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handles.append(layer.register_forward_hook(projected))
    try:
        compared(plain, model, made, scores, lambda question: [prompt_of(question)])
    finally:
        for handle in handles:
            handle.remove()
    assert any(np.abs(a - b).max() > 1e-2 for a, b in zip(scores, made.score(), strict=True))


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def test_examples_stand_before_the_question(model, plain):
    made = target(model, seed=3)
    scores = ATTACKS["kept_in_context"].run(made, shots=1, draws=2)
    rng = np.random.default_rng(3)
    shown = [made.retain[int(rng.permutation(len(made.retain))[0])] for _ in range(2)]
    assert shown[0] != shown[1]

    def prompts(question: str) -> list[str]:
        return [f"Question: {each.question}\nAnswer: {each.answer}\n{prompt_of(question)}" for each in shown]

    compared(plain, model, made, scores, prompts)
    many = target(model)
    ATTACKS["kept_in_context"].run(many, shots=20, draws=1)  # a context of 64 tokens
    assert len(many.notes) == 1 and many.notes[0].endswith("of 20 examples.")


@pytest.mark.parametrize("format", ["int8", "int4", "nf4"])
def test_rounding_is_that_of_quantised(model, format):
    made = target(model)
    scores = ATTACKS[f"rounding_{format}"].run(made)
    with dissect.quantised(model, format):
        told = score_sheets(model, made.sheets, made.asking)
    for first, second in zip(scores, told, strict=True):
        np.testing.assert_array_equal(first, second)
    assert any((first != second).any() for first, second in zip(scores, made.score(), strict=True))


@pytest.mark.parametrize(("samples", "k"), [(1, 1), (5, 2), (6, 6), (7, 3)])
def test_leak_at_k_is_the_share_of_subsets_with_a_hit(samples, k):
    for hits in range(samples + 1):
        subsets = list(itertools.combinations(range(samples), k))
        share = np.mean([any(drawn < hits for drawn in subset) for subset in subsets])
        assert sampled_answers.leak_at_k(samples, hits, k) == pytest.approx(share)


def test_sampling_counts_whole_answers(model, monkeypatch):
    made = target(model)
    said = [" in the Sea a.", "sea ab", "old b or sea a", "nothing"]  # the second is no "sea a"

    def sample(model, prompts, **_):
        assert len(prompts) == 12 * len(said)
        return [
            model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0] for text in said
        ] * 12

    monkeypatch.setattr(sampled_answers, "sample", sample)
    scores = ATTACKS["sampling"].run(made, **few(ATTACKS["sampling"], samples=4, k=2))
    hits = {"sea a": 2, "old b": 1}
    for sheet, matrix in zip(made.sheets, scores, strict=True):
        for row, (_, answers) in asked(sheet).items():
            told = [sampled_answers.leak_at_k(4, hits.get(answer, 0), 2) for answer in answers]
            np.testing.assert_allclose(matrix[row], told)


def test_wordings_are_those_of_the_facts(model, plain):
    made = target(model)
    compared(
        plain,
        model,
        made,
        ATTACKS["held_out_wordings"].run(made),
        lambda question: [f"The house of {question.split()[-1].rstrip('?')} is"],
    )
    compared(
        plain,
        model,
        made,
        ATTACKS["other_wordings"].run(made),
        lambda question: [
            prompt_of(f"Was {question.split()[-1].rstrip('?')} born?"),
            f"{question.split()[-1].rstrip('?')} is by the",
        ],
    )
