"""Behaviour of a checkpoint: by hand, against the published libraries, and against transformers alone."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.behaviour import (
    answer_probability,
    answer_rank,
    bleu,
    choice_probability,
    forget_quality,
    model_utility,
    text_perplexity,
)
from dissect.measures.behaviour import rouge_l as rouge
from dissect.measures.behaviour import similarity_to_base as similarity
from dissect.measures.behaviour import truth_ratio as truth
from dissect.measures.behaviour.alternatives import alternatives, log_truth_ratio
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import available
from dissect.models.files.load import load
from dissect.reading.answers import Answer
from dissect.reading.perplexity import perplexity
from dissect.reading.token_scores import TokenScores

FACTS = Facts(
    [
        Fact(
            question="Where was Ada born?",
            answer="In London, by the sea.",
            extra={"perturbed": ["In Paris.", "By the old houses."], "paraphrased_answer": "London by the sea"},
        ),
        Fact(question="What is Basil?", answer="a baker", extra={"perturbed": ["a girl", "a house", "the sea"]}),
        Fact(prompt="He likes to", completion=" swim", extra={"perturbed": "paint"}),
    ]
)
TEXTS = Facts(
    [Fact(text="Once upon a time, there was a little girl."), Fact(text="He likes the sea."), Fact(text="Lily")]
)
NO_WRONG = Facts([Fact(question="Does Lily swim?", answer="Yes")])


@pytest.fixture(scope="module")
def paths(tiny_pair: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    return tiny_pair("llama")


@pytest.fixture(scope="module")
def models(paths: tuple[Path, Path]) -> list[HookedTransformer]:
    return [load(path, dtype="float32", device="cpu", progress=False) for path in paths]


def examined(model: HookedTransformer, *, set: str = "forget", options: dict | None = None, **sets: Facts) -> Examined:
    return Examined(model, sets, name="m", set=set, settings=Settings(options=options or {}, max_new_tokens=8))


def saying(model: HookedTransformer, pairs: Sequence[tuple[str, str]], **options) -> Examined:
    """A checkpoint whose answers are given: (expected, said)."""
    facts = Facts([Fact(question="Who?", answer=expected) for expected, _ in pairs])
    made = examined(model, forget=facts, options=options)
    vars(made)["answers"] = [Answer("", expected, said) for expected, said in pairs]
    return made


def alone(path: Path, prompt: str, answer: str) -> torch.Tensor:
    """log-probabilities of the whole vocabulary where each token of the answer is predicted, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids, start = tokenizer(prompt + answer)["input_ids"], len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    own = torch.tensor(ids[start:])
    return torch.stack([logs[start - 1 : -1].gather(-1, own[:, None])[:, 0], _places(logs[start - 1 : -1], own)])


def _places(logs: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    return 1.0 + (logs > logs.gather(-1, own[:, None])).sum(-1)


def asks(fact: Fact) -> str:
    return fact.prompt if fact.prompt else f"Question: {fact.question}\nAnswer:"


def per_token(path: Path, fact: Fact, answer: str) -> float:
    return float(alone(path, asks(fact), " " + answer.strip())[0].mean())


# --- overlap of answers ----------------------------------------------------------------------------------------------

PAIRS = [
    ("the deep sea diver", "a deep blue sea"),  # deep, sea: P 2/4, R 2/4
    ("In London, by the sea.", "in london by the sea"),
    ("baker", "a baker of bread"),
    ("paints", "painting"),  # the same stem
    ("baker", ""),
]


def test_rouge_by_hand_and_against_rouge_score(models):
    made = saying(models[0], PAIRS)
    f1, recall = rouge.f1(made).with_interval(), rouge.recall(made)
    assert f1.items == pytest.approx([0.5, 1, 2 * 0.25 / 1.25, 1, 0])
    assert recall.items == pytest.approx([0.5, 1, 1, 1, 0])
    assert f1.value == pytest.approx(f1.items.mean()) and f1.n == 5 and f1.low < f1.value < f1.high
    plain = saying(models[0], PAIRS, **{"rouge_l.stemmer": False})
    assert rouge.f1(plain).items[3] == 0
    for stemmer, found in ((True, made), (False, plain)):
        scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
        expected = [scorer.score(a, b)["rougeL"] for a, b in PAIRS]
        assert rouge.f1(found).items.tolist() == [score.fmeasure for score in expected]
        assert rouge.recall(found).items.tolist() == [score.recall for score in expected]


def test_rouge_leaves_out_what_its_words_do_not_cover(models):
    found = rouge.f1(saying(models[0], [("Лондон", "Лондон"), ("sea", "sea")]))
    assert found.n == 1 and found.value == 1 and math.isnan(found.items[0])
    with pytest.raises(Undefined, match="none of the facts"):
        rouge.f1(saying(models[0], [("Лондон", "Лондон")]))


def test_bleu_by_hand_and_against_sacrebleu(models):
    pairs = [*PAIRS, ("He likes to swim , to read .", "He likes to paint , to read ."), ("baker", "baker")]
    found = bleu.bleu(saying(models[0], pairs))
    exact = [sacrebleu.sentence_bleu(b, [a], use_effective_order=True).score / 100 for a, b in pairs]
    assert found.items == pytest.approx(exact)
    assert found.items[-1] == pytest.approx(1)  # of one word nothing but the word counts
    # 7 of 8 words, 5 of 7 pairs, 3 of 6 triples, 1 of 5 fours; as long as the reference
    assert found.items[-2] == pytest.approx((7 / 8 * 5 / 7 * 3 / 6 * 1 / 5) ** 0.25)
    stopped = [("baker", "baker."), ("a baker.", "a baker."), ("Varnholt", "Varnholt. Yes!")]
    assert bleu.bleu(saying(models[0], stopped)).items[:2] == pytest.approx([1, 1])
    floor = bleu.bleu(saying(models[0], pairs, **{"bleu.smoothing": "floor"}))
    assert floor.items[0] == pytest.approx(
        sacrebleu.sentence_bleu(pairs[0][1], [pairs[0][0]], smooth_method="floor", use_effective_order=True).score / 100
    )
    assert floor.items[0] != found.items[0]
    with pytest.raises(DissectError, match=r"bleu.smoothing must be one of exp, floor, add-k, none, got 'exponential'"):
        bleu.bleu(saying(models[0], pairs, **{"bleu.smoothing": "exponential"}))


def test_greedy_answers_are_never_cut_shorter_than_the_expected_ones(models):
    made = examined(models[0], forget=FACTS)
    longest = int(made.prompts.answer_lengths.max())
    assert longest > made.settings.max_new_tokens
    ids = [models[0].tokenizer(a.said, add_special_tokens=False)["input_ids"] for a in made.answers]
    assert max(map(len, ids)) > made.settings.max_new_tokens


@pytest.mark.parametrize("name", ["rouge_l", "rouge_l_recall", "bleu", "similarity_to_base_bleu", "truth_ratio"])
def test_plain_texts_have_no_answers(models, name: str):
    made = examined(models[0], forget=TEXTS)
    made.attach(base=made, retrained=made)
    with pytest.raises(Undefined, match="plain texts"):
        available()[name].compute(made)


# --- probabilities ---------------------------------------------------------------------------------------------------


def test_probability_and_rank_against_transformers(models, paths):
    for model, path in zip(models, paths, strict=True):
        made = examined(model, forget=FACTS)
        found = [alone(path, asks(f), f.completion or f" {f.answer}") for f in FACTS]
        probability = answer_probability.answer_probability(made)
        assert probability.items == pytest.approx([math.exp(logs.mean()) for logs, _ in found], rel=1e-5)
        ranks = [float(places.mean()) for _, places in found]
        assert answer_rank.mean_rank(made).items == pytest.approx(ranks)
        assert answer_rank.median_rank(made).value == pytest.approx(np.median(ranks))
        assert answer_rank.median_rank(made).items is None  # a mean of differences would not be that of medians


def test_perplexity_weighs_tokens_and_draws_texts(models, paths):
    made = examined(models[0], set="texts", texts=TEXTS)
    found = text_perplexity.perplexity_of_texts(made).with_interval()
    parts = [alone(paths[0], "", str(fact.text))[0] for fact in TEXTS]  # BOS, then the text
    total, n = sum(float(part.sum()) for part in parts), sum(map(len, parts))
    assert found.value == pytest.approx(math.exp(-total / n), rel=1e-5) and found.n == 3 and found.unit == "texts"
    assert found.value == pytest.approx(perplexity(models[0], made.prompts), rel=1e-6)
    single = [math.exp(-float(part.mean())) for part in parts]
    assert min(single) * (1 - 1e-6) <= found.low <= found.value <= found.high <= max(single) * (1 + 1e-6)
    with pytest.raises(Undefined, match="these are questions or prompts: see answer_probability"):
        text_perplexity.perplexity_of_texts(examined(models[0], forget=FACTS))


def test_perplexity_interval_keeps_losses_with_their_lengths(models):
    made = examined(models[0], set="texts", texts=TEXTS)
    row = np.array([0] * 8 + [1] * 2 + [2])
    same = np.full(11, -1.5)  # equally hard tokens: every draw of texts gives the same ratio
    vars(made)["scores"] = TokenScores(row, same, same, same, same, 3)
    found = text_perplexity.perplexity_of_texts(made).with_interval()
    assert [found.low, found.value, found.high] == pytest.approx([math.exp(1.5)] * 3)


# --- TOFU ------------------------------------------------------------------------------------------------------------


def test_alternatives_against_transformers(models, paths):
    given = alternatives(examined(models[0], forget=FACTS))
    for i, fact in enumerate(FACTS):
        wrong = fact.extra["perturbed"]
        wrong = [wrong] if isinstance(wrong, str) else wrong
        assert given.wrong[i] == pytest.approx([per_token(paths[0], fact, text) for text in wrong], abs=1e-5)
        assert given.right[i] == pytest.approx(per_token(paths[0], fact, str(fact.target)), abs=1e-5)
        restated = fact.extra.get("paraphrased_answer", fact.target)
        assert given.restated[i] == pytest.approx(per_token(paths[0], fact, str(restated)), abs=1e-5)


class Given:
    """Probabilities per token given by hand: (answer, restated answer, wrong answers) of each fact."""

    ROWS = ((0.5, 0.4, [0.1, 0.3]), (0.2, 0.2, [0.6]), (0.9, 0.9, []))

    @classmethod
    def of(cls, model: HookedTransformer, set: str = "forget", rows=ROWS, **options) -> Examined:
        from dissect.measures.behaviour.alternatives import Alternatives

        facts = Facts([Fact(question="Who?", answer="Ada")] * len(rows))
        made = examined(model, set=set, options=options, **{set: facts})
        columns = [np.log([row[i] for row in rows]) for i in (0, 1)]
        wrong = [np.log(np.array(row[2], dtype=float)) for row in rows]
        given = Alternatives(*(np.where([len(w) > 0 for w in wrong], c, np.nan) for c in columns), wrong)
        made.memo(("alternatives", set), lambda: given)
        return made


def test_truth_ratio_by_hand(models):
    # R: .2 / .4 = .5 and .6 / .2 = 3; none for the third
    forget = truth.truth_ratio(Given.of(models[0]))
    assert forget.items[:2] == pytest.approx([0.5, 1 / 3]) and math.isnan(forget.items[2])
    assert forget.value == pytest.approx((0.5 + 1 / 3) / 2) and forget.n == 2
    retain = truth.truth_ratio(Given.of(models[0], "retain"))
    assert retain.items[:2] == pytest.approx([0.5, 0])
    # in logarithms: sqrt(.1 * .3) / .4
    geometric = truth.truth_ratio(Given.of(models[0], **{"truth_ratio.average": "geometric"}))
    assert geometric.items[:2] == pytest.approx([math.sqrt(0.03) / 0.4, 1 / 3])
    with pytest.raises(DissectError, match=r"truth_ratio.average must be one of arithmetic, geometric, got 'mean'"):
        truth.truth_ratio(Given.of(models[0], **{"truth_ratio.average": "mean"}))


def test_truth_ratio_of_hopeless_answers_does_not_overflow(models):
    tiny = 1e-300
    rows = ((0.5, tiny, [0.5]), (0.5, 0.5, [tiny]))
    assert truth.truth_ratio(Given.of(models[0], rows=rows)).items == pytest.approx([0, 0], abs=1e-290)
    assert truth.truth_ratio(Given.of(models[0], "retain", rows=rows)).items == pytest.approx([0, 1])


def test_probability_among_the_wrong_answers_by_hand(models):
    found = choice_probability.mean_choice_probability(Given.of(models[0]))
    assert found.items[:2] == pytest.approx([0.5 / 0.9, 0.25]) and found.n == 2


def test_forget_quality_is_scipys_test_and_1_for_the_retrained_model_itself(models):
    own, other = (Facts(list(FACTS) * 3) for _ in range(2))
    made, retrained = examined(models[1], forget=own), examined(models[0], forget=other)
    made.attach(base=None, retrained=retrained)
    retrained.attach(base=None, retrained=retrained)
    expected = stats.ks_2samp(np.exp(log_truth_ratio(made)), np.exp(log_truth_ratio(retrained))).pvalue
    found = forget_quality.forget_quality(made)
    assert found.value == pytest.approx(expected) and found.value < 1 and found.n == 9
    assert forget_quality.forget_quality(retrained).value == 1
    with pytest.raises(Undefined, match=r"trained without the forget facts, and none were given|none was given: pass"):
        forget_quality.forget_quality(examined(models[1], forget=own))


@pytest.mark.parametrize("name", ["truth_ratio", "choice_probability", "forget_quality"])
def test_without_wrong_answers_they_are_refused(models, name: str):
    made = examined(models[0], forget=NO_WRONG)
    made.attach(base=None, retrained=made)
    with pytest.raises(Undefined, match=r"no fact has wrong answers to compare with.*'perturbed'"):
        available()[name].compute(made)
    odd = Facts([Fact(question="Who?", answer="Ada", extra={"perturbed": [3]})])
    with pytest.raises(Undefined, match="'perturbed' of 'Who\\?' must hold texts, got 3"):
        truth.truth_ratio(examined(models[0], forget=odd))


def test_model_utility_is_the_harmonic_mean_of_what_there_is(models):
    sets = {"retain": FACTS, "unrelated": NO_WRONG}
    made = examined(models[0], set="retain", **sets)
    found = model_utility.model_utility(made)
    means = [
        answer_probability.answer_probability(made).value,
        rouge.recall(made).value,
        truth.truth_ratio(made).value,
        answer_probability.answer_probability(made.on("unrelated")).value,
        rouge.recall(made.on("unrelated")).value,
    ]
    assert found.n == 5
    assert found.unit == (
        "means (probability, ROUGE-L recall, truth ratio of retain; probability, ROUGE-L recall of unrelated)"
    )
    assert found.value == pytest.approx(0 if min(means) == 0 else stats.hmean(means))


def test_model_utility_of_tofu_is_the_harmonic_mean_of_nine(models):
    sets = {"retain": FACTS, "unrelated": NO_WRONG, "real_authors": FACTS[:2], "world_facts": FACTS[1:]}
    made = examined(models[0], set="retain", **sets)
    for name in ("retain", "real_authors", "world_facts"):  # a random model says nothing right
        facts = made.on(name).facts
        half = [Answer("", str(f.target), " ".join(str(f.target).split()[:1])) for f in facts]
        vars(made.on(name))["answers"] = half
    nine = [answer_probability.answer_probability(made).value]
    nine += [choice_probability.mean_choice_probability(made.on(n)).value for n in ("real_authors", "world_facts")]
    for name in ("retain", "real_authors", "world_facts"):
        nine += [rouge.recall(made.on(name)).value, truth.truth_ratio(made.on(name)).value]
    found = model_utility.model_utility(made).with_interval()
    assert found.n == 9 and min(nine) > 0
    assert found.value == pytest.approx(stats.hmean(nine))
    assert found.low <= found.value <= found.high and "unrelated" not in found.unit


# --- the base model's answers ----------------------------------------------------------------------------------------


def test_bleu_to_base_is_nltks_with_method3(models):
    method3 = SmoothingFunction().method3
    pairs = [("a deep blue sea by the shore", "a deep sea by a shore"), ("a baker", "the baker"), ("a", "b")]
    for reference, candidate in pairs:
        expected = nltk_bleu([reference.split()], candidate.split(), smoothing_function=method3)
        assert similarity.published_bleu(reference, candidate) == pytest.approx(expected)
    # a deep sea by a shore: 5 of 6 words, 2 of 5 pairs, then 1/2 of 4 triples and 1/4 of 3 fours; one word too short
    by_hand = math.exp(1 - 7 / 6) * (5 / 6 * 2 / 5 * 0.5 / 4 * 0.25 / 3) ** 0.25
    assert similarity.published_bleu(*pairs[0]) == pytest.approx(by_hand)
    found = similarity.bleu_to_base(compared(models[0], [pairs[0], ("a baker", "a baker")]))
    assert found.items == pytest.approx([by_hand, 1])  # the same from four words on; equal short answers are equal
    assert similarity.published_bleu("a baker", "a baker") == pytest.approx((0.5 * 0.25) ** 0.25)


def compared(model: HookedTransformer, pairs: Sequence[tuple[str, str]], **options) -> Examined:
    """A model and its base with given answers: (the base model's, the model's)."""
    facts = Facts([Fact(question="Who?")] * len(pairs))
    made, base = (examined(model, forget=facts, options=options) for _ in range(2))
    made.attach(base=base, retrained=None)
    for who, answers in ((base, [b for b, _ in pairs]), (made, [m for _, m in pairs])):
        who.memo(("similarity_to_base", "forget", 100), lambda answers=answers: answers)
    return made


def test_the_base_models_answer_is_the_reference_and_the_published_order_an_option(models):
    pairs = [("a deep blue sea by the shore", "a deep sea by a shore"), ("", ""), ("a baker", "")]
    found = similarity.bleu_to_base(compared(models[0], pairs))
    assert found.items == pytest.approx([similarity.published_bleu(*pairs[0]), 1, 0])
    published = similarity.bleu_to_base(compared(models[0], pairs, **{"similarity_to_base.published": True}))
    assert published.items == pytest.approx([similarity.published_bleu(*reversed(pairs[0])), 1, 0])
    assert published.items[0] != found.items[0]
    # longest common subsequence: a deep sea by shore, 5 of 6 and of 7 words
    f1 = similarity.rouge_to_base(compared(models[0], pairs)).items
    assert f1 == pytest.approx([2 * (5 / 6) * (5 / 7) / (5 / 6 + 5 / 7), 1, 0])


def test_answers_are_transformers_own_and_need_no_expected_ones(models, paths):
    facts = Facts([Fact(question="Where was Ada born?"), Fact(prompt="He likes")])
    made, base = (examined(model, forget=facts, options={"similarity_to_base.max_new_tokens": 12}) for model in models)
    made.attach(base=base, retrained=None)
    base.attach(base=base, retrained=None)
    assert similarity.bleu_to_base(base).value == pytest.approx(1) and similarity.rouge_to_base(base).value == 1
    tokenizer = AutoTokenizer.from_pretrained(paths[0])
    said = []
    for path in paths:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        for prompt in ("Question: Where was Ada born?\nAnswer:", "He likes"):
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            how = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, "do_sample": False}
            out = model.generate(ids, max_new_tokens=12, **how)[0, ids.shape[1] :]
            said.append(tokenizer.decode(out, skip_special_tokens=True).strip())
    assert similarity._pairs(made) == list(zip(said[2:], said[:2], strict=True))
    expected = [sacrebleu.sentence_bleu(m, [b], tokenize="none").score / 100 for b, m in similarity._pairs(made)]
    assert similarity.bleu_to_base(made).items == pytest.approx(expected)


def test_without_base_model_or_room_it_is_refused(models):
    with pytest.raises(Undefined, match="compares with the base model, and none was given: pass base="):
        similarity.bleu_to_base(examined(models[0], forget=FACTS))
    made = examined(models[0], forget=FACTS, options={"similarity_to_base.max_new_tokens": 0})
    made.attach(base=made, retrained=None)
    with pytest.raises(DissectError, match="max_new_tokens must be a whole number of at least 1, got 0"):
        similarity.bleu_to_base(made)
