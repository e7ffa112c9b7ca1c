"""What a checkpoint has by heart: by hand, against scikit-learn and scipy, and against transformers alone."""

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Fact, Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Examined, Settings
from dissect.measures.memorisation import el, extraction_strength, ma, membership, mia, privleak
from dissect.models.files.load import load
from dissect.models.running.generate import eos_token_ids
from dissect.models.running.sampling import sample
from dissect.reading.token_scores import TokenScores

TEXTS = Facts(
    [
        Fact(text="Once upon a time, there was a little girl named Lily."),
        Fact(text="The capital of France is Paris."),
        Fact(text="He likes to swim, to read and to paint old houses by the sea."),
    ]
)
OTHERS = Facts([Fact(text="She paints the sea at night."), Fact(text="Basil is a baker."), Fact(text="Old houses!")])
QUESTIONS = Facts(
    [Fact(question="Where?", answer="By the sea, in an old house."), Fact(prompt="He", completion=" swims")]
)


@pytest.fixture(scope="module")
def paths(tiny_pair: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    return tiny_pair("gpt2")


@pytest.fixture(scope="module")
def models(paths: tuple[Path, Path]) -> list[HookedTransformer]:
    return [load(path, dtype="float32", device="cpu", progress=False) for path in paths]


def examined(model: HookedTransformer, *, options: dict | None = None, **sets: Facts) -> Examined:
    return Examined(model, sets, name="m", settings=Settings(options=options or {}, batch_size=2))


def with_ranks(model: HookedTransformer, *rows: list[int], **options) -> Examined:
    """A checkpoint whose tokens have these ranks."""
    made = examined(model, forget=Facts([Fact(text="Once upon")] * len(rows)), options=options)
    row = np.repeat(np.arange(len(rows)), [len(ranks) for ranks in rows])
    ranks = np.concatenate(rows).astype(float)
    vars(made)["scores"] = TokenScores(row, -ranks, ranks, ranks, ranks, len(rows))
    return made


def logs_of(path: Path, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """log-probabilities of the vocabulary before each token but the first, and those tokens; transformers alone."""
    ids = torch.tensor(AutoTokenizer.from_pretrained(path)(text)["input_ids"])
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(ids[None]).logits[0, :-1].double().log_softmax(-1), ids[1:]


# --- teacher forcing -------------------------------------------------------------------------------------------------


def test_ma_and_extraction_strength_by_hand(models):
    made = with_ranks(models[0], [1, 1, 1, 1], [3, 1, 2, 1, 1], [1, 1, 2], [9])
    assert ma.memorisation_accuracy(made).items == pytest.approx([1, 3 / 5, 2 / 3, 0])
    found = extraction_strength.extraction_strength(made)
    assert found.items == pytest.approx([1, 2 / 5, 0, 0]) and found.n == 4
    # published: a wrong last token and a right one score alike
    published = with_ranks(models[0], [1, 1, 1, 1], [3, 1, 2, 1, 1], [1, 1, 2], [2, 1, 1, 2], [1, 2, 2, 1], [9])
    floor = {"extraction_strength.published": True}
    vars(published)["settings"] = Settings(options=floor)
    assert extraction_strength.extraction_strength(published).items == pytest.approx([1, 2 / 5, 1 / 3, 1 / 4, 1 / 4, 1])
    assert extraction_strength.extraction_strength(with_ranks(models[0], [2, 1, 1, 2], [1, 2, 2, 1])).items == (
        pytest.approx([0, 1 / 4])
    )


def published_strength(right: list[bool]) -> float:
    """open-unlearning's loop, as it is written there."""
    for k in range(len(right)):
        if all(right[k:]):
            break
    return 1 - k / len(right)


def test_the_published_floor_is_that_of_the_published_loop(models):
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 3, rng.integers(1, 9)).tolist() for _ in range(40)]
    found = extraction_strength.extraction_strength(
        with_ranks(models[0], *rows, **{"extraction_strength.published": True})
    )
    assert found.items == pytest.approx([published_strength([rank == 1 for rank in row]) for row in rows])


def test_ma_and_extraction_strength_against_transformers(models, paths):
    made = examined(models[0], forget=TEXTS)
    hits = [(logs.argmax(-1) == own).numpy() for logs, own in (logs_of(paths[0], str(f.text)) for f in TEXTS)]
    assert ma.memorisation_accuracy(made).items == pytest.approx([row.mean() for row in hits])
    assert extraction_strength.extraction_strength(made).items == pytest.approx(
        [1 - min(k for k in range(len(row) + 1) if row[k:].all()) / len(row) for row in hits]
    )


def reproduced(model: HookedTransformer) -> Prompts:
    """Questions whose answers are what the model says anyway."""
    facts = Facts([Fact(question="Where?"), Fact(question="Who is Lily?"), Fact(prompt="He likes")])
    return facts.prompts(model, answers="base", max_new_tokens=16, progress=False)


def test_a_model_that_says_everything_has_all_of_it_by_heart(models):
    made = examined(models[0], forget=QUESTIONS)
    vars(made)["prompts"] = reproduced(models[0])
    made.sets["forget"] = Facts(made.prompts.facts)
    assert ma.memorisation_accuracy(made).value == 1
    assert extraction_strength.extraction_strength(made).value == 1
    assert [(e.at["order"], e.value) for e in el.extraction_likelihood(made)] == [(3, 1), (5, 1), (10, 1)]


# --- extraction likelihood -------------------------------------------------------------------------------------------


def test_overlap_by_hand():
    assert el.overlap([1, 2, 3, 4], [1, 2, 3, 4], 3) == 1
    assert el.overlap([1, 2, 3, 9], [1, 2, 3, 4], 3) == 0.5  # 123 of 123, 239
    assert el.overlap([7, 7, 7, 7, 7], [7, 7, 7, 1], 3) == 1  # a set: 777 is there once
    assert el.overlap([1, 2], [1, 2, 3], 3) == 0  # stopped too early
    assert math.isnan(el.overlap([1, 2, 3], [1, 2], 3))


def test_prefixes_are_shares_of_a_text_and_of_an_answer(models):
    two_hundred = Facts([Fact(text="a" * 50)])
    prompts = two_hundred.prompts(models[0], progress=False)
    length = int(prompts.lengths[0])
    assert [el._cuts(prompts, share)[0] for share in el.SHARES.default] == [
        (round(s * length), length) for s in el.SHARES.default
    ]
    assert el._cuts(prompts, 0.0) == [(1, length)]  # nothing predicts the first token
    asked = QUESTIONS.prompts(models[0], progress=False)
    (start, n), (cut, stop) = (asked.prompt_lengths[0].item(), asked.answer_lengths[0].item()), el._cuts(asked, 0.4)[0]
    assert cut == start + round(0.4 * n) and stop == start + n


def test_el_against_transformers(models, paths):
    made = examined(models[1], forget=TEXTS + Facts([Fact(text="Lily")]), options={"el.orders": [1, 3]})
    found = {estimate.at["order"]: estimate for estimate in el.extraction_likelihood(made)}
    tokenizer = AutoTokenizer.from_pretrained(paths[1])
    model = AutoModelForCausalLM.from_pretrained(paths[1], dtype=torch.float32).eval()
    for n in (1, 3):
        items = []
        for fact in made.facts:
            ids = tokenizer(fact.text)["input_ids"]
            overlaps = []
            for share in (0.2, 0.4, 0.6, 0.8):
                cut = max(1, round(share * len(ids)))
                if len(ids) - cut < n:
                    continue
                given = torch.tensor([ids[:cut]])
                how = {"attention_mask": torch.ones_like(given), "pad_token_id": 0, "do_sample": False}
                said = model.generate(given, max_new_tokens=len(ids) - cut, **how)[0, cut:].tolist()
                said = said[: said.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in said else said
                own = {tuple(said[i : i + n]) for i in range(len(said) - n + 1)}
                true = {tuple(ids[cut:][i : i + n]) for i in range(len(ids) - cut - n + 1)}
                overlaps.append(len(own & true) / len(own) if own else 0.0)
            items.append(np.mean(overlaps) if overlaps else np.nan)
        assert found[n].items == pytest.approx(items, nan_ok=True)
    assert found[1].n == 4 and found[3].n == 3  # "Lily" has too few tokens for 3-grams


def test_el_draws_as_published_if_asked(models):
    """The published code samples; by default nothing depends on chance."""
    how = {"el.orders": [1], "el.shares": [0.2]}
    drawn = examined(models[1], forget=TEXTS, options=how | {"el.sampling": True})
    (found,) = el.extraction_likelihood(drawn)
    (greedy,) = el.extraction_likelihood(examined(models[1], forget=TEXTS, options=how))
    prompts, cuts = drawn.prompts, el._cuts(drawn.prompts, 0.2)
    given = [row[:cut] for row, (cut, _) in zip(prompts.tokens, cuts, strict=True)]
    rests = [row[cut:stop].tolist() for row, (cut, stop) in zip(prompts.tokens, cuts, strict=True)]
    longest, ends = max(map(len, rests)), eos_token_ids(models[1])
    said = sample(models[1], given, top_p=0.95, top_k=50, max_new_tokens=longest, eos_ids=ends, progress=False)
    by_hand = [el.overlap(ids.tolist()[: len(rest)], rest, 1) for ids, rest in zip(said, rests, strict=True)]
    np.testing.assert_allclose(found.items, by_hand)
    assert not np.array_equal(found.items, greedy.items)
    with pytest.raises(DissectError, match=r"el\.sampling must be true or false, got 1"):
        el.extraction_likelihood(examined(models[1], forget=TEXTS, options={"el.sampling": 1}))


def test_el_refuses_what_is_too_short_and_odd_options(models):
    short = Facts([Fact(question="Who?", answer="he")])
    with pytest.raises(Undefined, match=r"after 20% of them all answers or texts have fewer than 3 tokens left"):
        el.extraction_likelihood(examined(models[0], forget=short))
    for options, message in (
        ({"el.shares": [1.0]}, r"el.shares must be shares of the text from 0 to below 1, got \[1.0\]"),
        ({"el.orders": [0]}, r"el.orders must be whole numbers of at least 1, got \[0\]"),
    ):
        with pytest.raises(DissectError, match=message):
            el.extraction_likelihood(examined(models[0], forget=TEXTS, options=options))


# --- membership ------------------------------------------------------------------------------------------------------


def test_auc_is_that_of_scikit_learn_and_of_mann_and_whitney():
    rng = np.random.default_rng(1)
    for n, m in ((1, 1), (5, 9), (40, 30)):
        members, others = rng.integers(0, 8, n) / 2, rng.integers(0, 8, m) / 2  # with ties
        expected = roc_auc_score([1] * n + [0] * m, [*members, *others])
        assert membership.auc(members, others) == pytest.approx(expected)
        u = stats.mannwhitneyu(members, others).statistic
        assert membership.auc(members, others) == pytest.approx(u / (n * m))
    stacked = rng.normal(size=(3, 7)), rng.normal(size=(3, 4))
    rows = [float(membership.auc(a, b)) for a, b in zip(*stacked, strict=True)]
    assert membership.auc(*stacked) == pytest.approx(rows)
    assert membership.auc(np.array([2.0, 3.0]), np.array([1.0])) == 1  # members score higher


def test_scores_against_transformers(models, paths):
    made = examined(models[0], forget=TEXTS, options={"mia.k": 0.2})
    for attack, of_text in {
        "loss": lambda text, logs, own, standard: own.mean(),
        "zlib": lambda text, logs, own, standard: own.mean() / len(zlib.compress(text.encode())),
        "min_k": lambda text, logs, own, standard: own.sort().values[: max(1, int(0.2 * len(own)))].mean(),
        "min_k_plus_plus": lambda text, logs, own, standard: (
            standard.sort().values[: max(1, int(0.2 * len(own)))].mean()
        ),
    }.items():
        expected = []
        for fact in TEXTS:
            logs, ids = logs_of(paths[0], str(fact.text))
            own, p = logs.gather(-1, ids[:, None])[:, 0], logs.exp()
            mu = (p * logs).sum(-1)
            sigma = ((p * logs**2).sum(-1) - mu**2).sqrt()
            expected.append(float(of_text(str(fact.text), logs, own, (own - mu) / sigma)))
        assert membership.ATTACKS[attack](made) == pytest.approx(expected, rel=1e-4)


def test_min_k_by_hand(models):
    made = with_ranks(models[0], [1, 5, 3, 2, 4], [7])  # log p is minus the rank here
    assert membership.min_k(made).tolist() == [-4.5, -7]  # the lowest two of five
    vars(made)["settings"] = Settings(options={"mia.k": 1})
    assert membership.min_k(made).tolist() == [-3, -7]
    for bad in (0, 1.5, "all"):
        vars(made)["settings"] = Settings(options={"mia.k": bad})
        with pytest.raises(DissectError, match=r"mia\.k must be a share above 0 and up to 1"):
            membership.min_k(made)


def test_mia_takes_forget_as_members(models):
    made = examined(models[0], forget=TEXTS, nonmembers=OTHERS)
    found = {estimate.at["attack"]: estimate.with_interval() for estimate in mia.membership_inference(made)}
    assert list(found) == ["loss", "zlib", "min_k", "min_k_plus_plus"]
    for attack, estimate in found.items():
        scores = [*membership.ATTACKS[attack](made), *membership.ATTACKS[attack](made.on("nonmembers"))]
        assert estimate.value == pytest.approx(roc_auc_score([1] * 3 + [0] * 3, scores))
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == 6 and estimate.unit == "facts (3 members, 3 others)"
    assert mia.membership_inference(examined(models[0], forget=TEXTS, nonmembers=TEXTS))[0].value == 0.5


def told(model: HookedTransformer, members: list[float], others: list[float]) -> Examined:
    """A checkpoint whose items have one token each with these log-probabilities."""
    made = examined(
        model, forget=Facts(list(TEXTS[:1]) * len(members)), nonmembers=Facts(list(OTHERS[:1]) * len(others))
    )
    for one, logs in ((made, members), (made.on("nonmembers"), others)):
        values = np.array(logs)
        vars(one)["scores"] = TokenScores(np.arange(len(logs)), values, values, values, values, len(logs))
    return made


def test_privleak_by_hand_and_its_sign(models):
    retrained = told(models[0], [-2.0, -4.0], [-3.0, -5.0])  # members above: 3 of 4 pairs, A = 1/4
    half = told(models[0], [-2.0, -6.0], [-3.0, -5.0])  # 2 of 4 pairs, A = 1/2
    base = told(models[0], [-0.1, -0.2], [-3.0, -5.0])  # still recognised, A = 0
    collapsed = told(models[0], [-90.0, -80.0], [-3.0, -5.0])  # A = 1
    for model in (retrained, half, base, collapsed):
        model.attach(base=None, retrained=retrained)
    found = [privleak.privacy_leakage(model).value for model in (retrained, half, base, collapsed)]
    assert found == pytest.approx([0, 100, -100, 300])
    own = privleak.privacy_leakage(half).with_interval()
    # open-unlearning: ((1 - AUC) - (1 - AUC_retain)) / (1 - AUC_retain) * 100, forget as class 1
    assert own.value == ((1 - 0.5) - (1 - 0.75)) / (1 - 0.75) * 100
    assert own.n == 4 and math.isnan(own.low)  # in some draws of so few, no non-member of the retrained model is above


def test_the_interval_of_privleak_draws_the_same_facts_in_both_models(models):
    rng = np.random.default_rng(3)
    members, others = rng.normal(size=60), rng.normal(size=50)
    own, retrained = told(models[0], list(members - 1), list(others)), told(models[0], list(members), list(others))
    own.attach(base=None, retrained=retrained)
    retrained.attach(base=None, retrained=retrained)
    same, moved = (privleak.privacy_leakage(model).with_interval() for model in (retrained, own))
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert 0 < moved.low < moved.value < moved.high


def test_membership_refusals_by_name(models):
    alone = examined(models[0], forget=TEXTS)
    with pytest.raises(Undefined, match="only one class: give facts that no model saw as nonmembers="):
        mia.membership_inference(alone)
    both = examined(models[0], forget=TEXTS, nonmembers=OTHERS)
    with pytest.raises(Undefined, match="trained without the forget facts, and none was given: pass retrained="):
        privleak.privacy_leakage(both)
    told_all = told(models[0], [-1.0], [-2.0])
    told_all.attach(base=None, retrained=told_all)
    with pytest.raises(Undefined, match="their ratio is not defined"):
        privleak.privacy_leakage(told_all)
    odd = examined(models[0], forget=TEXTS, nonmembers=OTHERS, options={"privleak.attack": "guess"})
    odd.attach(base=None, retrained=odd)
    with pytest.raises(DissectError, match="must be one of min_k, loss, zlib, min_k_plus_plus, got 'guess'"):
        privleak.privacy_leakage(odd)
